//! What answers on the console's port.

use crate::actions;
use crate::api::{Api, Trouble};
use crate::follow::{Follower, Reader, Tail};
use crate::form::Form;
use crate::html::{self, Frame, Page};
use crate::origin;
use crate::pages::{self, Ctx};
use crate::session::{LinkKey, SIGN_IN, Session, Sessions};
use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body as HttpBody, Frame as BodyFrame};
use maud::{Markup, html};
use quarry_aws::sts::op::GetCallerIdentity;
use quarry_client::{Client, Credentials};
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/live.js");
/// The files' paths change with what is in them, so that browsers may keep them.
pub static STYLE_PATH: LazyLock<String> = LazyLock::new(|| format!("/style.css?{}", version(STYLE)));
pub static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| format!("/live.js?{}", version(SCRIPT)));

/// Its own files, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The largest form, in bytes.
const FORM: usize = 256 << 10;
/// How long a form may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pages that are kept up to date at a time.
const LIVE: usize = 24;

/// What the console needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The AWS endpoint's URL.
    pub endpoint: String,
    pub region: String,
    /// Whom a one-time link signs in.
    pub credentials: Credentials,
    /// Nobody needs to sign in.
    pub open: bool,
    /// The port it listens on: a part of the cookie's name, which browsers send to all ports.
    pub port: u16,
    pub link_key: LinkKey,
}

pub struct Console {
    settings: Settings,
    own: Api,
    sessions: Sessions,
    cookie: String,
    live: Arc<Semaphore>,
}

impl Console {
    pub fn new(settings: Settings) -> Result<Self, quarry_client::InvalidEndpoint> {
        let client = Client::new(&settings.endpoint, &settings.region, settings.credentials.clone())?;
        Ok(Self {
            own: Api::new(client, &settings.endpoint),
            sessions: Sessions::new(settings.link_key.clone()),
            cookie: format!("quarry-console-{}", settings.port),
            live: Arc::new(Semaphore::new(LIVE)),
            settings,
        })
    }

    /// Answers a request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Err(refused) = origin::check(&head.method, path, &head.headers) {
            return Ok(sealed(trouble_page(StatusCode::FORBIDDEN, "Refused", refused)));
        }
        match (&head.method, path) {
            (&Method::GET, "/style.css") => return Ok(sealed(file(STYLE, "text/css; charset=utf-8"))),
            (&Method::GET, "/live.js") => return Ok(sealed(file(SCRIPT, "text/javascript; charset=utf-8"))),
            _ => {}
        }
        let query = Form::parse(head.uri.query().unwrap_or_default());
        let form = match head.method {
            Method::GET => Form::default(),
            Method::POST => match read(body).await {
                Ok(form) => form,
                Err(refused) => return Ok(sealed(trouble_page(StatusCode::BAD_REQUEST, "Refused", refused))),
            },
            _ => return Ok(sealed(trouble_page(StatusCode::METHOD_NOT_ALLOWED, "Refused", "Only GET and POST."))),
        };
        if path == SIGN_IN {
            return Ok(sealed(self.sign_in(&head.method, &query, &form).await));
        }
        let mut fresh = None;
        let cookie = self.cookie_of(&head.headers);
        let session = cookie.as_deref().and_then(|id| self.sessions.find(id)).or_else(|| {
            let id = self.settings.open.then(|| self.open(self.own.clone(), &self.settings.credentials))?;
            let session = self.sessions.find(&id);
            fresh = Some(id);
            session
        });
        let Some(session) = session else {
            return Ok(sealed(match head.method {
                Method::GET if path != "/live" => forward(SIGN_IN),
                _ => trouble_page(StatusCode::FORBIDDEN, "Signed out", "Sign in first: `quarry open`."),
            }));
        };
        let mut answer = match head.method {
            Method::POST if form.text("token") != session.token => trouble_page(
                StatusCode::FORBIDDEN,
                "Refused",
                "The form is not of this session. Go back, load the page again, and repeat it.",
            ),
            Method::POST if path == "/sign-out" => {
                cookie.as_deref().inspect(|id| self.sessions.close(id));
                let mut answer = forward(SIGN_IN);
                self.set_cookie(&mut answer, "", 0);
                answer
            }
            Method::POST => self.act(&session, path, &form).await,
            _ if path == "/live" => {
                let last = head.headers.get("last-event-id");
                self.follow(session.clone(), cookie.or(fresh.clone()), &query, last)
            }
            _ => show(&session, path, head.uri.query(), &query).await,
        };
        if let Some(id) = fresh {
            self.set_cookie(&mut answer, &id, SESSION_SECONDS);
        }
        Ok(sealed(answer))
    }

    fn open(&self, api: Api, credentials: &Credentials) -> String {
        self.sessions.open(api, credentials.access_key_id())
    }

    fn cookie_of(&self, headers: &HeaderMap) -> Option<String> {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value.to_owned())
    }

    fn set_cookie(&self, answer: &mut Response<Body>, value: &str, seconds: u32) {
        let cookie = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}", self.cookie);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }

    async fn sign_in(&self, method: &Method, query: &Form, form: &Form) -> Response<Body> {
        if *method == Method::GET {
            return match query.given("token") {
                None => page(StatusCode::OK, sign_in_page(None)),
                Some(token) if self.sessions.redeem(token) => {
                    self.signed_in(self.own.clone(), &self.settings.credentials)
                }
                Some(_) => {
                    let why = "This link was used, or is older than two minutes. `quarry open` makes another.";
                    page(StatusCode::FORBIDDEN, sign_in_page(Some(why)))
                }
            };
        }
        let given = form.given("access_key_id").zip(form.given("secret_access_key"));
        let Some((id, secret)) = given else {
            return page(StatusCode::BAD_REQUEST, sign_in_page(Some("Both halves of an access key are needed.")));
        };
        let credentials = Credentials::new(id, secret, None);
        let Ok(client) = Client::new(&self.settings.endpoint, &self.settings.region, credentials.clone()) else {
            return trouble_page(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "The endpoint has no valid address.");
        };
        let api = Api::new(client, &self.settings.endpoint);
        match api.ask::<GetCallerIdentity>(json!({})).await {
            Ok(_) => self.signed_in(api, &credentials),
            Err(error) => page(StatusCode::FORBIDDEN, sign_in_page(Some(&error.to_string()))),
        }
    }

    /// The cookie, and a page that leads on by itself: a redirection after a link from elsewhere would be without the cookie.
    fn signed_in(&self, api: Api, credentials: &Credentials) -> Response<Body> {
        let id = self.open(api, credentials);
        let body = html! { p { "You are signed in. " a href="/" { "Go on to the overview" } "." } };
        let mut answer = page(StatusCode::OK, html::bare("Signed in", Some("/"), body));
        self.set_cookie(&mut answer, &id, SESSION_SECONDS);
        answer
    }

    /// What a person asked to be done: shown first, done when confirmed.
    async fn act(&self, session: &Session, path: &str, form: &Form) -> Response<Body> {
        let Some(name) = path.strip_prefix("/do/") else {
            return trouble_page(StatusCode::NOT_FOUND, "Not found", "There is no such action.");
        };
        let plan = match actions::plan(name, &session.api, form).await {
            Some(Ok(plan)) => plan,
            Some(Err(wrong)) => {
                let body = html! { p.bad role="alert" { (wrong) } p { "Go back, correct it, and send it again." } };
                return framed(StatusCode::BAD_REQUEST, session, &Page::new("Not possible", body), path, None);
            }
            None => return trouble_page(StatusCode::NOT_FOUND, "Not found", "There is no such action."),
        };
        if !form.ticked("confirmed") {
            return framed(
                StatusCode::OK,
                session,
                &actions::review(name, &session.token, form, &plan, None),
                path,
                None,
            );
        }
        let then = plan.then.clone();
        match plan.run(&session.api).await {
            Ok(said) => {
                session.say(said);
                forward(&then)
            }
            Err((plan, refused)) => {
                let review = actions::review(name, &session.token, form, &plan, Some(&refused));
                framed(StatusCode::CONFLICT, session, &review, path, None)
            }
        }
    }

    /// Server-sent events: the page, again, each time it has changed; or what is added to the log that it shows.
    fn follow(
        self: &Arc<Self>,
        session: Arc<Session>,
        cookie: Option<String>,
        query: &Form,
        last: Option<&HeaderValue>,
    ) -> Response<Body> {
        let Ok(place) = self.live.clone().try_acquire_owned() else {
            return trouble_page(
                StatusCode::SERVICE_UNAVAILABLE,
                "Busy",
                "Too many pages are kept up to date already.",
            );
        };
        let (console, cookie) = (self.clone(), cookie.unwrap_or_default());
        let alive = Box::new(move || console.sessions.find(&cookie).is_some());
        let reader = Reader { session, alive, _place: place, of: query.text("of").to_owned() };
        let body = match query.given("after") {
            Some(after) => {
                // After a break the browser says what came last.
                let last = last.and_then(|last| last.to_str().ok());
                let after = last.unwrap_or(after).parse().unwrap_or_default();
                events(Tail::new(reader, after), |mut tail| async move { Some((tail.next().await?, tail)) })
            }
            None => {
                let follower = Follower::new(reader, query.text("version"));
                events(follower, |mut follower| async move { Some((follower.next().await?, follower)) })
            }
        };
        let mut answer = Response::new(body);
        let kind = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

fn events<T, F>(from: T, next: impl Fn(T) -> F + Send + 'static) -> Body
where
    T: Send + 'static,
    F: Future<Output = Option<(String, T)>> + Send + 'static,
{
    let events = stream::unfold((from, next), |(from, next)| async move {
        let (event, from) = next(from).await?;
        Some((Ok(BodyFrame::data(Bytes::from(event))), (from, next)))
    });
    StreamBody::new(events).boxed_unsync()
}

const SESSION_SECONDS: u32 = 12 * 3600;

/// By these a service's refusal says that something is not there.
const ABSENT: [&str; 4] = ["NotFound", "does not exist", "NoSuchEntity", "Unable to describe task definition"];

async fn show(session: &Session, path: &str, raw: Option<&str>, query: &Form) -> Response<Body> {
    let whole = raw.map_or_else(|| path.to_owned(), |raw| format!("{path}?{raw}"));
    let ctx = Ctx { api: &session.api, token: &session.token, query, path };
    match pages::page(&ctx).await {
        Ok(page) => {
            let version = version(&page.body.0);
            framed(StatusCode::OK, session, &page, &whole, Some(&version))
        }
        Err(trouble) => {
            let missing = match &trouble {
                Trouble::Missing(_) => true,
                Trouble::Refused(why) => ABSENT.iter().any(|words| why.contains(words)),
            };
            let (status, title) = match missing {
                true => (StatusCode::NOT_FOUND, "Not found"),
                false => (StatusCode::BAD_GATEWAY, "Not known"),
            };
            framed(status, session, &Page::new(title, html! { p.bad { (trouble) } }), &whole, None)
        }
    }
}

fn framed(status: StatusCode, session: &Session, shown: &Page, path: &str, version: Option<&str>) -> Response<Body> {
    let said = session.said();
    let frame = Frame {
        path,
        who: &session.who,
        region: session.api.region(),
        token: &session.token,
        said: said.as_deref(),
        version,
    };
    page(status, html::document(shown, &frame))
}

fn sign_in_page(wrong: Option<&str>) -> Markup {
    let body = html! {
        @if let Some(wrong) = wrong { p.bad role="alert" { (wrong) } }
        p { "On the machine where Quarry runs, this makes a link that signs in, once:" }
        (html::copied("Command", "quarry open"))
        h2 { "Or with an access key" }
        p { "The console then does what this key may do. " code { "quarry env" } " prints the installation's own." }
        form.action method="post" action=(SIGN_IN) {
            (html::field("access_key_id", "Access key id", "", "text"))
            label.field {
                span { "Secret access key" }
                input type="password" name="secret_access_key" autocomplete="current-password";
            }
            button type="submit" { "Sign in" }
        }
    };
    html::bare("Sign in", None, body)
}

async fn read<B>(body: B) -> Result<Form, &'static str>
where
    B: HttpBody,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(PATIENCE, Limited::new(body, FORM).collect()).await {
        Ok(Ok(body)) => Ok(Form::parse(&String::from_utf8_lossy(&body.to_bytes()))),
        Ok(Err(_)) => Err("The form is too large, or was cut short."),
        Err(_) => Err("The form did not come in time."),
    }
}

/// Tells two versions of a text apart.
pub fn version(text: &str) -> String {
    quarry_wire::hash::sha256(text.as_bytes())[..16].to_owned()
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

fn page(status: StatusCode, markup: Markup) -> Response<Body> {
    let mut answer = Response::new(full(markup.into_string()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn trouble_page(status: StatusCode, title: &str, why: &str) -> Response<Body> {
    page(status, html::bare(title, None, html! { p.bad { (why) } p { a href="/" { "Overview" } } }))
}

fn file(text: &'static str, kind: &'static str) -> Response<Body> {
    let mut answer = Response::new(full(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let keep = HeaderValue::from_static("private, max-age=86400");
    answer.headers_mut().insert(header::CACHE_CONTROL, keep);
    answer
}

fn forward(to: &str) -> Response<Body> {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(header::LOCATION, to);
    }
    answer
}

/// What every answer says.
fn sealed(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not "no-referrer": browsers would send forms with the origin "null".
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
