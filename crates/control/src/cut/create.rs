//! Planning a cut, and beginning one.

use super::database::{self, Databases, Url};
use super::figures::Move;
use super::pair::{Fate, Pair as _};
use super::pairs;
use super::records::{Cut, Part};
use super::rule;
use super::{secret, survey};
use crate::api::{Ctx, Operations, Result, internally};
use crate::ecs::records::{Cluster, LastStatus, Service, ServiceStatus, Task, TaskDefinition};
use crate::elbv2;
use crate::elbv2::records::{Listener, Rule, Target, TargetGroup};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_domain::cut::{
    self, Data, Facts, Finding, Limits, Progress, ServiceFacts, Severity, Side, SideFacts, Spec, State,
};
use quarry_domain::link::TargetState;
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long the applications may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds that a database which is driven from outside may take to give the scope up.
const DATABASE_FENCE: u64 = 500;

/// `POST /cuts`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub scope: String,
    /// A service: its name, `cluster/name` or ARN. Where the application needs no contract, also a target group.
    pub from: String,
    pub to: String,
    pub paths: Vec<String>,
    /// ARN; without it, the one listener that forwards to the source.
    #[serde(default)]
    pub listener: Option<String>,
    /// With `data` `database`: the tables behind the paths, those before others that refer to them first.
    #[serde(default)]
    pub tables: Vec<String>,
    /// `contract` without it, and without URLs of databases.
    #[serde(default)]
    pub data: Option<DataWanted>,
    /// With `data` `database`: where the old side's tables are.
    #[serde(default)]
    pub from_database: Option<Url>,
    /// And the new side's.
    #[serde(default)]
    pub to_database: Option<Url>,
    #[serde(default)]
    pub until: Option<State>,
    /// 0: no shadowing.
    #[serde(default)]
    pub shadow_percent: Option<u32>,
    #[serde(default)]
    pub shadow_seconds: Option<u32>,
    #[serde(default)]
    pub canary_percent: Option<u32>,
    #[serde(default)]
    pub canary_seconds: Option<u32>,
    #[serde(default)]
    pub ignore: Vec<String>,
    #[serde(default)]
    pub allow_empty: bool,
    #[serde(default)]
    pub max_5xx_percent: Option<u32>,
    #[serde(default)]
    pub retire: Option<Fate>,
    #[serde(default)]
    pub dry_run: bool,
}

/// What is behind the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataWanted {
    Contract,
    Database,
    None,
}

/// What a plan says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// It cannot be done as it is.
    pub refused: bool,
    pub findings: Vec<Finding>,
    /// The states to come, in order.
    pub states: Vec<State>,
    pub listener_arn: Option<String>,
}

/// Why there is no cut.
#[derive(Debug)]
pub enum NoCut {
    Invalid(String),
    Refused(Box<Plan>),
    Failed(ServiceError),
}

/// What the store knows of one side.
struct Found {
    part: Part,
    facts: ServiceFacts,
}

/// Everything about it, and nothing changed.
pub fn plan(platform: &Arc<Platform>, request: &Request) -> std::result::Result<Plan, NoCut> {
    let spec = spec(request)?;
    Ok(look(platform, request, &spec)?.0)
}

/// Begins the cut; its id.
pub fn create(
    platform: &Arc<Platform>,
    operations: &Arc<Operations>,
    request: &Request,
) -> std::result::Result<Cut, NoCut> {
    let spec = spec(request)?;
    let (plan, parts) = look(platform, request, &spec)?;
    let (Some((from, to)), Some(listener_arn), false) = (parts, plan.listener_arn.clone(), plan.refused) else {
        return Err(NoCut::Refused(Box::new(plan)));
    };
    let made = internally(platform, operations, |ctx| {
        // Meanwhile another may have begun.
        let overlapping = overlapping(ctx.tx, request)?;
        if let Some(id) = overlapping.first() {
            return Err(ServiceError::new("Conflict", format!("{id} has a scope that overlaps"), 409));
        }
        let rule = rule::existing(ctx.tx, &listener_arn, &request.paths)?.map(|rule| rule.arn);
        if let Some(why) = rule::shifted(ctx.tx, rule.as_deref(), [&from.service_arn, &to.service_arn])? {
            return Err(ServiceError::new("Conflict", why, 409));
        }
        begin(ctx, request, spec.clone(), from.clone(), to.clone(), &listener_arn)
    });
    made.map_err(NoCut::Failed)
}

fn begin(ctx: &mut Ctx<'_>, request: &Request, spec: Spec, from: Part, to: Part, listener_arn: &str) -> Result<Cut> {
    let now = ctx.platform.now_ms();
    let rule = rule::take(ctx, listener_arn, &request.paths)?;
    let id = format!("cut-{}", ctx.platform.door.hex(8));
    let seal = |side, url: &Url| ctx.platform.vault.seal(&database::context(&id, side), url.text().as_bytes());
    let databases = urls(request)
        .map(|(from, to)| Databases { source: seal(Side::Source, from), destination: seal(Side::Destination, to) });
    let mut cut = Cut {
        id,
        scope: request.scope.clone(),
        paths: request.paths.clone(),
        tables: request.tables.clone(),
        from,
        to,
        databases,
        listener_arn: listener_arn.to_owned(),
        rule,
        spec,
        ignore: request.ignore.clone(),
        fate: request.retire.unwrap_or_default(),
        max_5xx_percent: request.max_5xx_percent.unwrap_or(10),
        progress: Progress::new(request.until),
        created_ms: now,
        entered_ms: now,
        hold_began_ms: None,
        ended_ms: None,
        moves: Vec::new(),
        current: Move::begin(Side::Source, now),
        entries: 0,
    };
    rule::point(ctx, &cut, Side::Source)?;
    let entry = cut.entry(now, State::Prepare.name(), None);
    ctx.tx.put(&entry)?;
    ctx.tx.put(&cut)?;
    Ok(cut)
}

fn spec(request: &Request) -> std::result::Result<Spec, NoCut> {
    let percent = |name: &str, value: Option<u32>| match value {
        Some(value) if value > 100 => Err(NoCut::Invalid(format!("{name}: 0 to 100, not {value}"))),
        other => Ok(other.filter(|value| *value > 0)),
    };
    let seconds = |name: &str, value: Option<u32>, usual: u64| match value {
        Some(value) if value > 86_400 => Err(NoCut::Invalid(format!("{name}: at most 86400, not {value}"))),
        other => Ok(other.map_or(usual, |value| u64::from(value) * 1000)),
    };
    let usual = Limits::default();
    percent("max_5xx_percent", request.max_5xx_percent)?;
    if request.retire == Some(Fate::Clear) {
        return Err(NoCut::Invalid("retire: keep, rename or drop".to_owned()));
    }
    let data = data(request)?;
    if let Some(bad) = request.ignore.iter().find(|one| one.is_empty() || one.len() > 256) {
        return Err(NoCut::Invalid(format!("ignore {bad:?}: a JSON pointer or a header's name")));
    }
    Ok(Spec {
        data,
        shadow_percent: percent("shadow_percent", Some(request.shadow_percent.unwrap_or(100)))?,
        canary_percent: percent("canary_percent", request.canary_percent)?,
        allow_empty: request.allow_empty,
        limits: Limits {
            shadow: seconds("shadow_seconds", request.shadow_seconds, usual.shadow)?,
            canary: seconds("canary_seconds", request.canary_seconds, usual.canary)?,
            // There the digest is read from the log when the fence falls. The bound of the hold is the same.
            fence: if data == Data::Database { DATABASE_FENCE } else { usual.fence },
            ..usual
        },
    })
}

/// What is behind the paths, and whether what was said of it fits.
fn data(request: &Request) -> std::result::Result<Data, NoCut> {
    let invalid = |message: &str| Err(NoCut::Invalid(message.to_owned()));
    let given = [&request.from_database, &request.to_database];
    let named = given.iter().any(|url| url.is_some());
    let data = request.data.unwrap_or(if named { DataWanted::Database } else { DataWanted::Contract });
    if data != DataWanted::Database {
        if named {
            return invalid("from_database and to_database: only with data database");
        }
        if !request.tables.is_empty() {
            // The application says which tables are behind a scope; a part of them cannot be moved.
            return invalid("tables: with the contract the scope's tables are the application's to name");
        }
        return Ok(if data == DataWanted::None { Data::None } else { Data::Contract });
    }
    for (name, url) in ["from_database", "to_database"].into_iter().zip(given) {
        let Some(url) = url else { return invalid(&format!("{name}: both databases must be named")) };
        if let Err(why) = url.shown() {
            return invalid(&format!("{name}: {why}"));
        }
    }
    if request.tables.is_empty() {
        return invalid("tables: the tables behind the paths must be named");
    }
    if let Some(table) = request.tables.iter().find(|table| table.matches('.').count() > 1 || table.is_empty()) {
        return invalid(&format!("table {table:?}: a table is named posts, or with its schema shop.posts"));
    }
    Ok(Data::Database)
}

/// Of both databases.
fn urls(request: &Request) -> Option<(&Url, &Url)> {
    request.from_database.as_ref().zip(request.to_database.as_ref())
}

type Parts = Option<(Part, Part)>;

fn look(platform: &Arc<Platform>, request: &Request, spec: &Spec) -> std::result::Result<(Plan, Parts), NoCut> {
    let failed = |error: ServiceError| NoCut::Failed(error);
    let mut facts = platform.store.read(|tx| facts(platform, tx, request, spec)).map_err(failed)?;
    let parts = facts.1.take();
    let mut facts = facts.0;
    if let (Some((from, to)), Data::Contract) = (&parts, spec.data)
        && facts.source.contract
        && facts.destination.contract
    {
        let (source, destination) = ask(platform, &request.scope, from, to);
        facts.source.answer = Some(source);
        facts.destination.answer = Some(destination);
    }
    if let (Some(urls), Data::Database) = (urls(request), spec.data) {
        let (source, destination) = survey::ask(&request.scope, &request.tables, urls, PATIENCE);
        facts.source.answer = Some(source);
        facts.destination.answer = Some(destination);
    }
    let findings = cut::findings(&facts);
    let refused = findings.iter().any(|finding| finding.severity == Severity::Refusal);
    let plan = Plan { refused, findings, states: State::path(spec), listener_arn: facts.listener.ok() };
    Ok((plan, parts))
}

/// What a side says, or why it says nothing.
pub type Told = std::result::Result<SideFacts, String>;

/// What both applications say.
fn ask(platform: &Arc<Platform>, scope: &str, from: &Part, to: &Part) -> (Told, Told) {
    let failed = |why: String| (Err(why.clone()), Err(why));
    let pair = match pairs::contract(platform, scope, from, to) {
        Ok(pair) => pair,
        Err(trouble) => return failed(trouble.message),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(error.to_string()),
    };
    let asked = async {
        let mut told = Vec::new();
        for side in [Side::Source, Side::Destination] {
            let looked = tokio::time::timeout(PATIENCE, pair.look(side)).await;
            told.push(match looked {
                Ok(Ok(looked)) => Ok(SideFacts {
                    known: looked.known,
                    prepared: looked.seen.prepared,
                    owner: looked.seen.owner,
                    epoch: looked.seen.epoch,
                    rows: looked.rows,
                    ..SideFacts::default()
                }),
                Ok(Err(trouble)) => Err(trouble.message),
                Err(_) => Err("no answer in time".to_owned()),
            });
        }
        if told.iter().all(|one| one.as_ref().is_ok_and(|facts| facts.known)) {
            let found = tokio::time::timeout(PATIENCE, pair.check()).await;
            let found = found.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_else(|trouble| {
                let side = Side::Source;
                if trouble.refused { vec![(side, trouble.message)] } else { Vec::new() }
            });
            for (side, what) in found {
                if let Ok(facts) = &mut told[side as usize] {
                    facts.problems.push(what);
                }
            }
        }
        let destination = told.pop();
        (told.pop(), destination)
    };
    let (source, destination) = tokio::task::LocalSet::new().block_on(&runtime, asked);
    let missing = || Err("not asked".to_owned());
    (source.unwrap_or_else(missing), destination.unwrap_or_else(missing))
}

fn facts(platform: &Platform, tx: &Tx<'_>, request: &Request, spec: &Spec) -> Result<(Facts, Parts), ServiceError> {
    let groups = spec.data != Data::Contract;
    let shown = |url: &Option<Url>| url.as_ref().and_then(|url| url.shown().ok());
    let find = |name: &str, url: &Option<Url>| {
        let mut found = find(platform, tx, name, groups)?;
        if let Ok(found) = &mut found {
            found.part.database = shown(url);
        }
        Ok::<_, ServiceError>(found)
    };
    let source = find(&request.from, &request.from_database)?;
    let destination = find(&request.to, &request.to_database)?;
    let name_of = |found: &std::result::Result<Found, ServiceFacts>| match found {
        Ok(found) => (found.facts.clone(), Some(found.part.clone())),
        Err(facts) => (facts.clone(), None),
    };
    let ((source, from), (destination, to)) = (name_of(&source), name_of(&destination));
    let listener = listener(tx, request, source.target_group.as_deref())?;
    let (mut shadowed_by, mut takes_over, mut rule_problem) = (Vec::new(), None, None);
    if let Ok(arn) = &listener {
        match rule::existing(tx, arn, &request.paths)? {
            Some(existing) => {
                shadowed_by = rule::before(tx, arn, existing.priority, &request.paths)?;
                takes_over = Some(existing.arn.clone());
                let group = source.target_group.as_deref().unwrap_or_default();
                if !rule::sends_to(&existing.action, group) {
                    rule_problem =
                        Some(format!("{} has these paths and does not send them to the source", existing.arn));
                }
            }
            None => {
                if rule::free_priority(tx, arn, &request.paths)?.is_none() {
                    rule_problem = Some("there is no free priority before the rules that take these paths".to_owned());
                } else if tx.children::<Rule>(arn)?.len()
                    >= platform.config.quotas.of(elbv2::limits::RULES_PER_LISTENER)
                {
                    rule_problem = Some("the listener has as many rules as it may have".to_owned());
                }
            }
        }
    }
    let services = [&from, &to].map(|part| part.as_ref().map_or("", |part| part.service_arn.as_str()));
    if let Some(why) = rule::shifted(tx, takes_over.as_deref(), services)? {
        rule_problem = Some(why);
    }
    let facts = Facts {
        scope: request.scope.clone(),
        paths: request.paths.clone(),
        tables: request.tables.clone(),
        data: spec.data,
        source,
        destination,
        overlapping: overlapping(tx, request)?,
        listener,
        shadowed_by,
        takes_over,
        rule_problem,
    };
    Ok((facts, from.zip(to)))
}

fn overlapping(tx: &Tx<'_>, request: &Request) -> Result<Vec<String>, StoreError> {
    let running = rule::running(tx)?.into_iter();
    let same = running.filter(|cut| cut.scope == request.scope || cut::overlaps(&cut.paths, &request.paths));
    Ok(same.map(|cut| cut.id).collect())
}

/// The listener that the request names, or the one that forwards to the source.
fn listener(
    tx: &Tx<'_>,
    request: &Request,
    group: Option<&str>,
) -> Result<std::result::Result<String, String>, ServiceError> {
    if let Some(arn) = &request.listener {
        return Ok(match tx.get::<Listener>(arn)? {
            Some(listener) => Ok(listener.arn),
            None => Err(format!("there is no listener {arn}")),
        });
    }
    let Some(group) = group else { return Ok(Err("the source has no target group, so no listener is known".into())) };
    let mut found = Vec::new();
    for listener in tx.all::<Listener>()? {
        let rules: Vec<Rule> = tx.children(&listener.arn)?;
        let forwards = listener.default_action.target_groups().any(|one| one == group)
            || rules.iter().any(|rule| rule.action.target_groups().any(|one| one == group));
        if forwards {
            found.push(listener.arn);
        }
    }
    Ok(match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("no listener forwards to the source".to_owned()),
        many => Err(format!("{} listeners forward to the source: name one of {}", many.len(), many.join(", "))),
    })
}

/// A service by its name, `cluster/name` or ARN; or else, where `groups` may be, a target group by its name or ARN.
fn find(
    platform: &Platform,
    tx: &Tx<'_>,
    name: &str,
    groups: bool,
) -> Result<std::result::Result<Found, ServiceFacts>, ServiceError> {
    let mut facts = ServiceFacts { name: name.to_owned(), ..ServiceFacts::default() };
    let clusters: Vec<Cluster> = tx.all()?;
    let cluster_of = |service: &Service| clusters.iter().find(|cluster| cluster.arn == service.cluster_arn);
    let mut services = tx.all::<Service>()?;
    services.retain(|service| {
        let full = cluster_of(service).map(|cluster| format!("{}/{}", cluster.name, service.name));
        let named = service.arn == name || service.name == name || full.as_deref() == Some(name);
        named && service.status == ServiceStatus::Active
    });
    let service = match <[Service; 1]>::try_from(services) {
        Ok([service]) => service,
        Err(services) => {
            let group = tx.all::<TargetGroup>()?.into_iter().find(|group| group.name == name || group.arn == name);
            if let (Some(group), true, true) = (group, groups, services.is_empty()) {
                return Ok(Ok(of_group(platform, tx, group)?));
            }
            if !services.is_empty() {
                facts.name = format!("{name} (in {} clusters: say cluster/name)", services.len());
            }
            return Ok(Err(facts));
        }
    };
    facts.exists = true;
    let primary = service.primary().map_or("", |primary| primary.id.as_str());
    let group = service.load_balancers().iter().find_map(|one| service.target_group(one, primary));
    let group = match group {
        Some(arn) => tx.get::<TargetGroup>(arn)?.map(|group| group.arn),
        None => None,
    };
    facts.target_group.clone_from(&group);
    let tasks = tx.owned::<Task>(&service.arn)?;
    let running = tasks.iter().filter(|task| task.wanted && task.status == LastStatus::Running);
    facts.running = running.count() as u32;
    if let Some(group) = &group {
        facts.healthy = healthy(platform, group);
    }
    let definition = match service.primary() {
        Some(primary) => tx.get::<TaskDefinition>(&primary.task_definition)?,
        None => None,
    };
    let admin_port = definition.and_then(|definition| secret::port(&definition.definition));
    facts.contract = admin_port.is_some();
    let part = Part {
        service: service.name.clone(),
        cluster: cluster_of(&service).map(|cluster| cluster.name.clone()).unwrap_or_default(),
        target_group_arn: group.unwrap_or_default(),
        service_arn: service.arn,
        admin_port,
        database: None,
    };
    // The same service under two names is one.
    facts.name = format!("{}/{}", part.cluster, part.service);
    Ok(Ok(Found { part, facts }))
}

/// Targets of a group that probes found healthy.
fn healthy(platform: &Platform, group_arn: &str) -> u32 {
    let live = platform.live();
    let of_group = live.targets.iter().filter(|((group, _), _)| group == group_arn);
    of_group.filter(|(_, report)| report.state == TargetState::Healthy).count() as u32
}

/// An application that runs elsewhere, behind its target group.
fn of_group(platform: &Platform, tx: &Tx<'_>, group: TargetGroup) -> Result<Found, ServiceError> {
    let targets = tx.children::<Target>(&group.arn)?.into_iter().filter(|target| !target.draining).count();
    let facts = ServiceFacts {
        name: group.name.clone(),
        exists: true,
        group: true,
        running: targets as u32,
        healthy: healthy(platform, &group.arn),
        target_group: Some(group.arn.clone()),
        ..ServiceFacts::default()
    };
    let part = Part {
        service: group.name,
        service_arn: String::new(),
        cluster: String::new(),
        target_group_arn: group.arn,
        admin_port: None,
        database: None,
    };
    Ok(Found { part, facts })
}
