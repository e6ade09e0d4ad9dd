//! What a task is told at 169.254.170.2: the credentials of its role, and what it is (the task metadata
//! endpoint, version 4). Who asks is known by the address that the request comes from, and each answer
//! goes only to the task that it is about.

use super::records::{Container, LastStatus, Task, TaskDefinition, TaskRoleCredentials};
use super::{protection, stats, task_role};
use crate::api::{Operations, internally};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use bytes::Bytes;
use http::{Response, StatusCode};
use quarry_domain::container;
use quarry_wire::{ServiceError, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Before a task without a network of its own finds this at `serve`'s own port.
pub const PATH: &str = "/_quarry/v1/tasks";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A task, by the address that its connections come from.
    Task(Ipv4Addr),
    /// A process of this machine: where tasks are plain processes.
    Process,
}

/// Variables that lead a container of the task here.
pub fn environment(platform: &Platform, task: &Task, container: &Container) -> Vec<(String, String)> {
    let (metadata, credentials, prefix) = match (&platform.config.hub, task.address) {
        (Some(_), Some(_)) => {
            let base = format!("http://{}", quarry_domain::address::METADATA);
            (base, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", String::new())
        }
        (None, None) => {
            let base = format!("http://127.0.0.1:{}{PATH}", platform.config.port);
            (base.clone(), "AWS_CONTAINER_CREDENTIALS_FULL_URI", base)
        }
        // Without a network.
        _ => return Vec::new(),
    };
    let mut variables = vec![
        ("ECS_CONTAINER_METADATA_URI_V4".to_owned(), format!("{metadata}/v4/{}", container.id)),
        ("ECS_AGENT_URI".to_owned(), format!("{metadata}/api/{}", container.id)),
    ];
    if let Some(id) = &task.credentials_id {
        variables.push((credentials.to_owned(), format!("{prefix}/v2/credentials/{id}")));
    }
    variables
}

/// Answers a GET of `path`, or a PUT where there is a body. Blocks for as long as the store takes.
pub fn answer(
    platform: &Platform,
    operations: &Operations,
    asker: Asker,
    path: &str,
    body: Option<&[u8]>,
) -> Response<Bytes> {
    let path = match asker {
        Asker::Task(_) => path,
        Asker::Process => path.strip_prefix(PATH).unwrap_or_default(),
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let ["api", id, "task-protection", "v1", "state"] = parts[..] {
        return protect(platform, operations, asker, id, body);
    }
    if body.is_some() {
        return respond(StatusCode::METHOD_NOT_ALLOWED, refusal("MethodNotAllowed", "only GET is answered here", 405));
    }
    let answered = match parts[..] {
        ["v2", "credentials", id] => credentials(platform, operations, asker, id),
        ["v4", id] => about(platform, asker, id, About::Container),
        ["v4", id, "task"] => about(platform, asker, id, About::Task),
        ["v4", id, "stats"] => about(platform, asker, id, About::ContainerStats),
        ["v4", id, "task", "stats"] => about(platform, asker, id, About::TaskStats),
        _ => Ok(None),
    };
    match answered {
        Ok(Some(body)) => respond(StatusCode::OK, body),
        Ok(None) => respond(StatusCode::NOT_FOUND, refusal("NotFound", "nothing is known here", 404)),
        Err(error) if error.status < 500 => {
            respond(StatusCode::BAD_REQUEST, refusal(&error.code, &error.message, error.status))
        }
        Err(error) => {
            tracing::error!(%error, path, "a task was not told what it asked for");
            respond(StatusCode::INTERNAL_SERVER_ERROR, refusal("InternalServerError", "internal failure", 500))
        }
    }
}

fn credentials(
    platform: &Platform,
    operations: &Operations,
    asker: Asker,
    id: &str,
) -> Result<Option<Bytes>, ServiceError> {
    internally(platform, operations, |ctx| {
        let unknown = || ServiceError::new("InvalidIdInRequest", "CredentialsV2Request: Credentials not found", 400);
        let given: TaskRoleCredentials = ctx.tx.get(id)?.ok_or_else(unknown)?;
        let task: Option<Task> = ctx.tx.get(&given.task)?;
        let task = task.filter(|task| is_asker(task, asker, "credentials")).ok_or_else(unknown)?;
        let role_arn = given.role_arn.clone();
        let session = task_role::credentials(ctx, &task, given)?;
        Ok(encode(&RoleCredentials {
            role_arn: &role_arn,
            access_key_id: &session.access_key_id,
            secret_access_key: &session.secret_access_key,
            token: &session.session_token,
            expiration: time(session.expires_at_ms),
        }))
    })
}

/// The scale-in protection of the task that the container with this id belongs to.
fn protect(
    platform: &Platform,
    operations: &Operations,
    asker: Asker,
    id: &str,
    body: Option<&[u8]>,
) -> Response<Bytes> {
    let answered = internally(platform, operations, |ctx| {
        let task = with_container(ctx.tx, id)?;
        let Some(task) = task.filter(|task| is_asker(task, asker, "protection")) else { return Ok(None) };
        protection::by_agent(ctx, &task, body).map(Some)
    });
    match answered {
        Ok(Some((status, answer))) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            respond(status, encode(&answer).unwrap_or_default())
        }
        Ok(None) => respond(StatusCode::NOT_FOUND, refusal("NotFound", "nothing is known here", 404)),
        Err(error) => {
            tracing::error!(%error, "a task's protection could not be looked at");
            respond(StatusCode::INTERNAL_SERVER_ERROR, refusal("InternalServerError", "internal failure", 500))
        }
    }
}

/// The task that has the container with this id.
fn with_container(tx: &Tx<'_>, id: &str) -> Result<Option<Arc<Task>>, StoreError> {
    let all = tx.shared::<Task>()?;
    Ok(all.iter().find(|task| task.containers.iter().any(|c| c.id == id)).cloned())
}

/// What is asked.
#[derive(Clone, Copy)]
enum About {
    Container,
    Task,
    ContainerStats,
    TaskStats,
}

/// About the container with this id, or its whole task.
fn about(platform: &Platform, asker: Asker, id: &str, what: About) -> Result<Option<Bytes>, ServiceError> {
    let found = platform.store.read(|tx| -> Result<_, StoreError> {
        let task = with_container(tx, id)?;
        let Some(task) = task.filter(|task| is_asker(task, asker, "metadata")) else { return Ok(None) };
        let definition: Option<TaskDefinition> = tx.get(&task.task_definition_arn)?;
        Ok(definition.map(|definition| (task, definition)))
    })?;
    let Some((task, definition)) = found else { return Ok(None) };
    let one = task.containers.iter().find(|c| c.id == id);
    Ok(match what {
        About::Task => encode(&task_view(&task, &definition)),
        About::Container => one.and_then(|container| encode(&container_view(&task, container, &definition))),
        About::TaskStats => encode(&stats::of_task(platform, &task)),
        About::ContainerStats => encode(&stats::of_task(platform, &task).remove(&id.replace('-', ""))),
    })
}

/// Whether it is this task that asks. That another one does has no good reason: it is said.
fn is_asker(task: &Task, asker: Asker, what: &str) -> bool {
    let is_asker = match asker {
        Asker::Task(source) => task.address == Some(source),
        Asker::Process => task.address.is_none(),
    };
    if !is_asker {
        tracing::warn!(?asker, task = task.id, "refused: a task asks for the {what} of another");
    }
    is_asker
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials<'a> {
    role_arn: &'a str,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaskView<'a> {
    cluster: &'a str,
    #[serde(rename = "TaskARN")]
    task_arn: &'a str,
    family: &'a str,
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    desired_status: &'a str,
    known_status: &'a str,
    limits: BTreeMap<&'a str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_stopped_at: Option<String>,
    availability_zone: &'a str,
    launch_type: &'a str,
    containers: Vec<ContainerView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerView<'a> {
    docker_id: String,
    name: &'a str,
    docker_name: &'a str,
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<BTreeMap<&'a str, serde_json::Value>>,
    labels: BTreeMap<String, String>,
    desired_status: &'a str,
    known_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    limits: BTreeMap<&'a str, i32>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    r#type: &'a str,
    log_driver: Option<&'a str>,
    log_options: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "ContainerARN")]
    container_arn: String,
    networks: Vec<NetworkView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkView<'a> {
    network_mode: &'a str,
    #[serde(rename = "IPv4Addresses")]
    ipv4_addresses: Vec<String>,
    #[serde(rename = "MACAddress", skip_serializing_if = "Option::is_none")]
    mac_address: Option<&'a str>,
    #[serde(rename = "PrivateDNSName", skip_serializing_if = "Option::is_none")]
    private_dns_name: Option<&'a str>,
}

fn task_view<'a>(task: &'a Task, definition: &'a TaskDefinition) -> TaskView<'a> {
    let known = &definition.definition;
    let mut limits = BTreeMap::new();
    if known.cpu.is_some() || task.overrides.cpu.is_some() {
        limits.insert("CPU", f64::from(task.demand.cpu) / 1024.0);
    }
    if known.memory.is_some() || task.overrides.memory.is_some() {
        limits.insert("Memory", f64::from(task.demand.memory));
    }
    TaskView {
        cluster: &task.cluster_arn,
        task_arn: &task.arn,
        family: &definition.family,
        revision: definition.revision.to_string(),
        service_name: task.group.strip_prefix("service:"),
        desired_status: if task.wanted { "RUNNING" } else { "STOPPED" },
        known_status: task.status.as_str(),
        limits,
        pull_started_at: task.pull_started_ms.map(time),
        pull_stopped_at: task.pull_stopped_ms.map(time),
        availability_zone: &task.availability_zone,
        launch_type: task.launch_type.as_str(),
        containers: task.containers.iter().map(|container| container_view(task, container, definition)).collect(),
    }
}

fn container_view<'a>(task: &'a Task, of: &'a Container, definition: &'a TaskDefinition) -> ContainerView<'a> {
    let known = container::containers(&definition.definition).iter().find(|c| c.name.as_deref() == Some(&of.name));
    let logs = known.and_then(|known| known.log_configuration.as_ref());
    let mode = container::network_mode(&definition.definition);
    let own = [
        ("com.amazonaws.ecs.cluster", task.cluster_arn.clone()),
        ("com.amazonaws.ecs.container-name", of.name.clone()),
        ("com.amazonaws.ecs.task-arn", task.arn.clone()),
        ("com.amazonaws.ecs.task-definition-family", definition.family.clone()),
        ("com.amazonaws.ecs.task-definition-version", definition.revision.to_string()),
    ];
    let given = known.and_then(|known| known.docker_labels.clone()).unwrap_or_default();
    let port = |port: &super::records::Port| {
        let mut shown = BTreeMap::from([
            ("ContainerPort", serde_json::Value::from(port.container_port)),
            ("Protocol", serde_json::Value::from("tcp")),
        ]);
        if task.interface.is_none() {
            shown.insert("HostPort", port.host_port.into());
        }
        shown
    };
    let ended = of.exit_code.is_some();
    ContainerView {
        docker_id: of.id.replace('-', ""),
        name: &of.name,
        docker_name: &of.name,
        image: &of.image,
        image_id: of.image_digest.as_deref().unwrap_or_default(),
        ports: task.ports.iter().filter(|port| port.container == of.name).map(port).collect(),
        labels: given.into_iter().chain(own.map(|(name, value)| (name.to_owned(), value))).collect(),
        desired_status: if task.wanted { "RUNNING" } else { "STOPPED" },
        known_status: match task.status {
            _ if ended => "STOPPED",
            status if status.is_pending() => "PENDING",
            LastStatus::Deprovisioning | LastStatus::Stopped => "STOPPED",
            _ => "RUNNING",
        },
        exit_code: of.exit_code,
        limits: [("CPU", Some(of.cpu)), ("Memory", of.memory)]
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect(),
        created_at: time(task.created_ms),
        started_at: task.started_ms.map(time),
        r#type: "NORMAL",
        log_driver: logs.and_then(|logs| logs.log_driver.as_deref()),
        log_options: logs
            .and_then(|logs| logs.options.as_ref())
            .map(|options| options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            .unwrap_or_default(),
        container_arn: task.arn.replacen(":task/", ":container/", 1) + "/" + &of.id,
        networks: vec![NetworkView {
            network_mode: mode,
            ipv4_addresses: task.private_address.map(|address| address.to_string()).into_iter().collect(),
            mac_address: task.interface.as_ref().map(|interface| interface.mac.as_str()),
            private_dns_name: task.interface.as_ref().map(|interface| interface.private_dns_name.as_str()),
        }],
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(rename = "HTTPErrorCode")]
    status: u16,
}

fn refusal(code: &str, message: &str, status: u16) -> Bytes {
    encode(&Refusal { code, message, status }).unwrap_or_default()
}

fn encode(value: &impl Serialize) -> Option<Bytes> {
    serde_json::to_vec(value).ok().map(Bytes::from)
}

/// RFC 3339, in UTC.
fn time(ms: i64) -> String {
    let text = Timestamp::from_millis(ms).to_string();
    // AWS's own shows no fraction where there is none.
    text.strip_suffix(".000Z").map_or(text.clone(), |whole| format!("{whole}Z"))
}

fn respond(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
