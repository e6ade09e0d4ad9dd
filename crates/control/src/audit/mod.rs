//! The audit log: every API call as a record in CloudTrail's format (AWS's "CloudTrail record contents"), one JSON
//! object a line, in `audit/events.jsonl` of the data directory, also calls that were denied or unsigned.
//!
//! Values that the model marks sensitive, and those named in [`parameters`], never reach it. A thread of its own
//! writes; calls only hand over. As CloudTrail does by itself, it leaves out the calls that only carry data, such as
//! log events and metrics, unless they were refused.

mod backwards;
mod file;
pub mod parameters;

#[cfg(test)]
pub(crate) mod tests;

pub use backwards::{Backwards, Position};
pub use file::Trail;
pub use parameters::Parameters;

use crate::api::{Caller, reads_only};
use crate::authorization::Who;
use crate::cut;
use crate::platform::Platform;
use http::{header, request};
use quarry_wire::{ServiceError, ServiceModel, Timestamp};
use serde_json::{Map, Value, json};

/// In place of what must not be shown, as CloudTrail says it.
pub const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// Services and calls that carry data: CloudTrail's data events.
const DATA: [(&str, &str); 8] = [
    ("cloudwatch", "GetMetricData"),
    ("cloudwatch", "PutMetricData"),
    ("ecr", "UploadLayerPart"),
    ("logs", "FilterLogEvents"),
    ("logs", "GetLogEvents"),
    ("logs", "PutLogEvents"),
    ("servicediscovery", "DiscoverInstances"),
    ("servicediscovery", "DiscoverInstancesRevision"),
];

/// What was called and by whom, as far as it came.
#[derive(Default)]
pub struct Event<'a> {
    pub service: Option<&'static ServiceModel>,
    /// As the caller named it, where no service is known; [`cut::api::SERVICE`] for what is no AWS service's.
    pub source: &'a str,
    pub operation: &'a str,
    pub caller: Option<&'a Caller>,
    /// ARN of the role, where the caller is a session of one.
    pub role_arn: Option<String>,
    /// The access key that was claimed, where the signature was not good.
    pub claimed_key: Option<String>,
    pub parameters: Parameters,
    /// Of a call that changes something.
    pub response: Option<Value>,
    pub error: Option<&'a ServiceError>,
    pub request_id: &'a str,
    /// The service that called on behalf of the caller, such as `cloudformation.amazonaws.com`.
    pub invoked_by: Option<&'static str>,
}

/// Where a call came from.
pub struct Origin {
    address: String,
    agent: String,
}

impl Origin {
    pub fn of(head: &request::Parts) -> Self {
        let from = head.extensions.get::<crate::endpoint::Source>();
        let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        Self {
            address: from.map_or_else(|| "127.0.0.1".to_owned(), |source| source.0.to_string()),
            agent: agent.chars().take(256).collect(),
        }
    }

    /// A service that calls on somebody's behalf stands for both.
    pub fn service(name: &str) -> Self {
        Self { address: name.to_owned(), agent: name.to_owned() }
    }
}

/// Writes one call down.
pub fn write(platform: &Platform, origin: Origin, event: Event<'_>) {
    let id = event.service.map(|service| service.id);
    let carries_data = id.is_some_and(|id| DATA.contains(&(id, event.operation)));
    if carries_data && event.error.is_none() {
        return;
    }
    platform.audit.add(record(platform, origin, event));
}

fn record(platform: &Platform, origin: Origin, event: Event<'_>) -> Value {
    let place = platform.place();
    let mut record = Map::new();
    let mut set = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
    set("eventVersion", "1.11".into());
    let mut who = identity(&place.account, &event);
    if event.caller.is_some_and(|caller| caller.access_key.is_empty())
        && let Some(who) = who.as_object_mut()
    {
        who.remove("accessKeyId");
    }
    if let Some(service) = event.invoked_by {
        who["invokedBy"] = service.into();
    }
    set("userIdentity", who);
    set("eventTime", time(platform.now_ms()));
    let source = event.service.map_or(event.source, |service| service.endpoint_prefix);
    // `api.ecr` is a host, not the service.
    let source = source.rsplit('.').next().unwrap_or_default();
    set(
        "eventSource",
        if source == cut::api::SERVICE { source.into() } else { format!("{source}.amazonaws.com").into() },
    );
    set("eventName", event.operation.into());
    set("awsRegion", place.region.clone().into());
    set("sourceIPAddress", origin.address.into());
    set("userAgent", origin.agent.into());
    if let Some(error) = event.error {
        set("errorCode", error.code.clone().into());
        set("errorMessage", event.parameters.without_hidden(&error.message).into());
    }
    set("requestParameters", event.parameters.shown);
    set("responseElements", event.response.unwrap_or(Value::Null));
    set("requestID", event.request_id.into());
    set("eventID", platform.door.uuid().into());
    set("readOnly", (reads_only(event.operation) || event.operation.contains("GetSecretValue")).into());
    set("eventType", "AwsApiCall".into());
    set("managementEvent", true.into());
    set("recipientAccountId", place.account.clone().into());
    set("eventCategory", "Management".into());
    Value::Object(record)
}

fn identity(account: &str, event: &Event<'_>) -> Value {
    let Some(caller) = event.caller else {
        let mut unknown = json!({"type": "Unknown", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"});
        if let Some(key) = &event.claimed_key {
            unknown["accessKeyId"] = key.chars().take(128).collect::<String>().into();
        }
        return unknown;
    };
    let Some(acting) = &caller.acting else {
        return json!({
            "type": "Root", "principalId": account, "arn": caller.arn, "accountId": account,
            "accessKeyId": caller.access_key,
        });
    };
    let role = match &acting.who {
        Who::Role(role) => role,
        Who::User(name) => {
            return json!({
                "type": "IAMUser", "principalId": acting.user_id, "arn": acting.arn, "accountId": account,
                "accessKeyId": caller.access_key, "userName": name,
            });
        }
    };
    json!({
        "type": "AssumedRole",
        "principalId": acting.user_id,
        "arn": acting.arn,
        "accountId": account,
        "accessKeyId": caller.access_key,
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": acting.id(),
                "arn": event.role_arn.clone().unwrap_or_else(|| format!("arn:aws:iam::{account}:role/{role}")),
                "accountId": account,
                "userName": role,
            },
            "attributes": {"creationDate": time(acting.issued_ms), "mfaAuthenticated": "false"},
        },
    })
}

/// To the second, as CloudTrail has it.
fn time(at_ms: i64) -> Value {
    let whole = Timestamp::from_millis(at_ms.div_euclid(1000) * 1000).to_string();
    whole.replace(".000Z", "Z").into()
}
