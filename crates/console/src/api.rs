//! The public APIs as the pages ask them: by operation, with inputs and answers in AWS's JSON form.

use quarry_client::access_logs::{self, Lines};
use quarry_client::cuts::{CutError, Cuts};
use quarry_client::status::{self, ListenerView, RuleView};
use quarry_client::{CallError, Client};
use quarry_wire::{Operation, Timestamp, json};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("There is no {0}.")]
    Missing(String),
    /// The service's code and message.
    #[error("{0}")]
    Refused(String),
}

pub type Told<T> = Result<T, Trouble>;

/// A client with the access key of whoever signed in.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    endpoint: String,
}

impl Api {
    pub fn new(client: Client, endpoint: &str) -> Self {
        Self { client, endpoint: endpoint.to_owned() }
    }

    pub fn region(&self) -> &str {
        self.client.region()
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// One call.
    pub async fn ask<O: Operation>(&self, input: Value) -> Told<Value> {
        // Boxed, here and below: pages wait for many calls at once, and their futures lie on a worker's small stack.
        let call = Box::pin(self.client.call::<O>(shape::<O>(&input)?));
        Ok(json::to_value(&call.await.map_err(refused)?))
    }

    /// All of what an operation lists under `key`.
    pub async fn all<O: Operation>(&self, input: Value, key: &str) -> Told<Vec<Value>> {
        let pages = Box::pin(self.client.paginate::<O>(shape::<O>(&input)?)).await.map_err(refused)?;
        let pages = pages.iter().map(|page| json::to_value(page));
        Ok(pages.flat_map(|mut page| items(page[key].take())).collect())
    }

    pub fn cuts(&self) -> Cuts {
        Cuts::new(self.client.clone())
    }

    /// Where load balancers listen on this machine.
    pub async fn listeners(&self) -> Told<Vec<ListenerView>> {
        status::listeners(&self.endpoint).await.map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// What rules took, by ARN; those that took nothing are not in it.
    pub async fn rules(&self) -> Told<BTreeMap<String, RuleView>> {
        status::rules(&self.endpoint).await.map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// The newest lines of a load balancer's access log.
    pub async fn access_log(&self, balancer: &str, lines: usize) -> Told<Lines> {
        access_logs::newest(&self.client, balancer, lines).await.map_err(refused)
    }
}

fn shape<O: Operation>(input: &Value) -> Told<O::Input> {
    json::from_value(input).map_err(|error| Trouble::Refused(format!("{}: {}", error.path, error.message)))
}

fn refused(error: CallError) -> Trouble {
    Trouble::Refused(match &error {
        CallError::Service(refusal) => format!("{}: {}", refusal.code, refusal.message),
        CallError::Transport(_) => error.to_string(),
    })
}

impl From<CutError> for Trouble {
    fn from(error: CutError) -> Self {
        Trouble::Refused(error.to_string())
    }
}

/// Reading answers: a path names members with dots between; what is absent is empty.
pub trait Data {
    fn at(&self, path: &str) -> &Value;
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }
    fn whole(&self, path: &str) -> i64 {
        self.at(path).as_i64().unwrap_or_default()
    }
    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map(Vec::as_slice).unwrap_or_default()
    }
    /// The texts of a list.
    fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path).iter().filter_map(Value::as_str).collect()
    }
    fn time(&self, path: &str) -> Option<Timestamp> {
        self.at(path).as_f64().and_then(Timestamp::from_f64)
    }
}

impl Data for Value {
    fn at(&self, path: &str) -> &Value {
        path.split('.').try_fold(self, |value, name| value.get(name)).unwrap_or(&Value::Null)
    }
}

/// A list's items.
pub fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The last part of an ARN.
pub fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_reads_as_empty() {
        let value = json!({"state": {"code": "active"}, "count": 3, "names": ["a", 1], "at": 1.5, "yes": true});
        assert_eq!((value.text("state.code"), value.text("state.reason.text")), ("active", ""));
        assert_eq!((value.whole("count"), value.whole("names")), (3, 0));
        assert_eq!((value.texts("names"), value.list("state").len()), (vec!["a"], 0));
        assert_eq!(value.time("at").map(|at| at.millis()), Some(1500));
        assert!(value.flag("yes") && value.time("none").is_none());
    }
}
