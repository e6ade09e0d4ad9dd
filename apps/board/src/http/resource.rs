//! The routes that users, threads and posts have in common: list, get, create, change, delete.
//!
//! A feature gives its record, its SQL and its rules by [`Resource`]; the order of checks, the
//! transaction and the idempotency key are here once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use super::idempotency::{self, Claim, Key};
use super::{Body, Fields, Page, Problem, TRACE_HEADER, json, link_next};
use crate::app::App;
use crate::cut;
use crate::db::{DbError, Row, Tx, Value};
use crate::links::{Dependent, Elsewhere, Feature, Reference};

/// A kind of record: how it is read, checked and stored. SQL takes `$1`-style parameters.
pub trait Resource: Serialize + Sized + Send + Sync + 'static {
    /// The feature it belongs to; also the name of its table and of its path under `/api/`.
    const FEATURE: Feature;
    /// Its columns by rising id: `$1` ids above, `$2` rows at most.
    const LIST: &'static str;
    /// Its columns for the id `$1`.
    const GET: &'static str;
    /// The same, holding the row until the transaction ends.
    const LOCK: &'static str;
    /// Stores [`Resource::values`] from `$1` on; returns the new id.
    const INSERT: &'static str;
    /// Stores the id `$1` and then [`Resource::values`].
    const INSERT_WITH_ID: &'static str;
    /// Changes the record `$1` to [`Resource::values`].
    const UPDATE: &'static str;
    /// Deletes the record `$1`.
    const DELETE: &'static str;
    /// Records that keep one of these from being deleted.
    const DEPENDENTS: &'static [Dependent];
    /// What a violated UNIQUE means to a person.
    const TAKEN: &'static str;

    /// From a row of [`Resource::LIST`] or [`Resource::GET`].
    fn from_row(row: &Row) -> Self;
    /// From a client's body, or an import; the id stays 0.
    fn read(fields: &mut Fields) -> Self;
    /// Gives the record its id.
    fn set_id(&mut self, id: i64);
    /// The record's id.
    fn id(&self) -> i64;
    /// The columns other than the id.
    fn values(&self) -> Vec<Value>;
    /// The records it points to.
    fn references(&self) -> Vec<Reference>;
}

/// A narrower list: its SQL has the value as `$3`.
pub struct Filter {
    /// Like [`Resource::LIST`].
    pub sql: &'static str,
    /// The third parameter.
    pub value: i64,
}

type Params = Query<BTreeMap<String, String>>;
type Shared = State<Arc<App>>;

/// `/api/<feature>/{id}`, and the creating half of `/api/<feature>`; the list itself is the
/// feature's own, because its filters are.
pub fn routes<R: Resource>() -> Router<Arc<App>> {
    let name = R::FEATURE.name();
    Router::new()
        .route(&format!("/api/{name}"), axum::routing::post(create::<R>))
        .route(&format!("/api/{name}/{{id}}"), get(one::<R>).put(replace::<R>).patch(patch::<R>).delete(delete::<R>))
}

/// A list, whole or in pages, with a `Link` to the next page.
pub async fn list<R: Resource>(
    app: &App,
    uri: &Uri,
    query: &BTreeMap<String, String>,
    filter: Option<Filter>,
) -> Result<Response, Problem> {
    let page = Page::parse(query)?;
    // One row more than asked for tells whether there is a next page.
    let rows = page.limit.map_or(i64::MAX, |limit| limit + 1);
    let mut params = vec![page.after.into(), rows.into()];
    let sql = match &filter {
        Some(filter) => {
            params.push(filter.value.into());
            filter.sql
        }
        None => R::LIST,
    };
    let mut rows = match app.db.query(sql, params).await {
        Ok(rows) => rows,
        Err(error) => return Err(cut::unreadable(app, R::FEATURE, error).await),
    };
    let more = page.limit.filter(|limit| rows.len() as i64 > *limit);
    if more.is_some() {
        rows.pop();
    }
    let records: Vec<R> = rows.iter().map(R::from_row).collect();
    let mut response = json(StatusCode::OK, &records)?;
    if let (Some(limit), Some(last)) = (more, records.last()) {
        let link = link_next(uri.path(), query, limit, last.id());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// The id at the end of a path; anything that is no id names nothing.
pub fn id_in<R: Resource>(uri: &Uri) -> Result<i64, Problem> {
    let text = uri.path().rsplit('/').next().unwrap_or_default();
    let digits = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    let id = text.parse().ok().filter(|_| digits);
    id.ok_or_else(|| absent::<R>(None))
}

async fn one<R: Resource>(State(app): Shared, uri: Uri) -> Result<Response, Problem> {
    let id = id_in::<R>(&uri)?;
    json(StatusCode::OK, &find::<R>(&app, id).await?)
}

async fn create<R: Resource>(State(app): Shared, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let key = Key::from_headers(&headers, R::FEATURE.name(), &body.bytes)?;
    let epoch = cut::epoch(&headers);
    let mut fields = Fields::new(body.value)?;
    let mut record = R::read(&mut fields);
    fields.finish()?;
    if let Some(key) = &key
        && let Some(answer) = key.replay(&app.db).await?
    {
        return Ok(answer);
    }
    cut::looks_owned(&app, R::FEATURE, epoch).await?;
    let references = record.references();
    let (mut tx, elsewhere) = begin::<R>(&app, epoch, Ask::Exist(&references), headers.get(TRACE_HEADER)).await?;
    if let Some(key) = &key
        && let Claim::Done(answer) = key.claim(&mut tx).await?
    {
        return Ok(answer);
    }
    app.links.look_here(&elsewhere, &mut tx, &references).await?;
    let rows = tx.query(R::INSERT, record.values()).await;
    let rows = rows.map_err(taken::<R>)?;
    record.set_id(rows.first().map_or(0, |row| row.int(0)));
    let location = format!("/api/{}/{}", R::FEATURE.name(), record.id());
    let body =
        serde_json::to_string(&record).map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    if let Some(key) = &key {
        key.store(&mut tx, StatusCode::CREATED, &location, &body).await?;
        idempotency::purge(&mut tx, R::FEATURE.name(), &app.keys_purged).await?;
    }
    tx.commit().await?;
    Ok(idempotency::created(StatusCode::CREATED, &location, body))
}

async fn replace<R: Resource>(
    State(app): Shared,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    change::<R>(&app, &uri, &headers, body, false).await
}

async fn patch<R: Resource>(State(app): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    change::<R>(&app, &uri, &headers, body, true).await
}

async fn change<R: Resource>(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    partly: bool,
) -> Result<Response, Problem> {
    let id = id_in::<R>(uri)?;
    let merge = |before: &R| -> Result<R, Problem> {
        let mut fields = Fields::new(body.value.clone())?;
        if partly {
            fields = fields.or_from(serde_json::to_value(before).unwrap_or_default());
        }
        fields.own_id_is(id);
        let mut after = R::read(&mut fields);
        fields.finish()?;
        after.set_id(id);
        Ok(after)
    };
    let epoch = cut::epoch(headers);
    cut::looks_owned(app, R::FEATURE, epoch).await?;
    let before = find::<R>(app, id).await?;
    let asked = new_references(&before, &merge(&before)?);
    let (mut tx, elsewhere) = begin::<R>(app, epoch, Ask::Exist(&asked), headers.get(TRACE_HEADER)).await?;
    let before = lock::<R>(&mut tx, id).await?;
    let after = merge(&before)?;
    let references = new_references(&before, &after);
    app.links.look_here(&elsewhere, &mut tx, &references).await?;
    let mut params = vec![id.into()];
    params.extend(after.values());
    tx.query(R::UPDATE, params).await.map_err(taken::<R>)?;
    tx.commit().await?;
    json(StatusCode::OK, &after)
}

async fn delete<R: Resource>(State(app): Shared, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let id = id_in::<R>(&uri)?;
    let epoch = cut::epoch(&headers);
    cut::looks_owned(&app, R::FEATURE, epoch).await?;
    find::<R>(&app, id).await?;
    let trace = headers.get(TRACE_HEADER);
    let (mut tx, elsewhere) = begin::<R>(&app, epoch, Ask::Dependents(id), trace).await?;
    lock::<R>(&mut tx, id).await?;
    app.links.look_for_dependents(&elsewhere, &mut tx, R::FEATURE, R::DEPENDENTS, id).await?;
    tx.query(R::DELETE, vec![id.into()]).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a write asks other services.
enum Ask<'a> {
    /// Whether these exist.
    Exist(&'a [Reference]),
    /// Whether records point to the one with this id.
    Dependents(i64),
}

/// Asks other services, and then opens the write's transaction: it must not wait for a network. Where a
/// feature has moved between the two, both are done again.
async fn begin<R: Resource>(
    app: &App,
    epoch: Option<u64>,
    ask: Ask<'_>,
    trace: Option<&HeaderValue>,
) -> Result<(Tx, Elsewhere), Problem> {
    for _ in 0..3 {
        let elsewhere = Elsewhere::look(&app.db, app.fenced).await?;
        match ask {
            Ask::Exist(references) => app.links.ask_elsewhere(&elsewhere, references, trace).await?,
            Ask::Dependents(id) => {
                app.links.ask_dependents(&elsewhere, R::FEATURE, R::DEPENDENTS, id, trace).await?;
            }
        }
        let mut tx = app.db.begin().await?;
        let fences = cut::may_write(app, &mut tx, R::FEATURE, epoch).await?;
        if Elsewhere::from_fences(&fences) == elsewhere {
            return Ok((tx, elsewhere));
        }
    }
    Err(Problem::unavailable("Features are moving between services at this moment."))
}

async fn find<R: Resource>(app: &App, id: i64) -> Result<R, Problem> {
    let rows = match app.db.query(R::GET, vec![id.into()]).await {
        Ok(rows) => rows,
        Err(error) => return Err(cut::unreadable(app, R::FEATURE, error).await),
    };
    let row = rows.first().ok_or_else(|| absent::<R>(Some(id)))?;
    Ok(R::from_row(row))
}

async fn lock<R: Resource>(tx: &mut Tx, id: i64) -> Result<R, Problem> {
    let rows = tx.query(R::LOCK, vec![id.into()]).await?;
    let row = rows.first().ok_or_else(|| absent::<R>(Some(id)))?;
    Ok(R::from_row(row))
}

/// What a change newly points to; what stays as it was is not asked about again.
fn new_references<R: Resource>(before: &R, after: &R) -> Vec<Reference> {
    let before = before.references();
    let after = after.references().into_iter();
    after.filter(|reference| !before.contains(reference)).collect()
}

fn absent<R: Resource>(id: Option<i64>) -> Problem {
    let noun = R::FEATURE.noun();
    Problem::not_found(match id {
        Some(id) => format!("There is no {noun} {id}."),
        None => format!("There is no such {noun}."),
    })
}

fn taken<R: Resource>(error: DbError) -> Problem {
    match error {
        DbError::Unique => Problem::conflict(R::TAKEN),
        other => other.into(),
    }
}

/// The list of a feature without filters.
pub async fn plain_list<R: Resource>(State(app): Shared, uri: Uri, Query(query): Params) -> Result<Response, Problem> {
    list::<R>(&app, &uri, &query, None).await
}
