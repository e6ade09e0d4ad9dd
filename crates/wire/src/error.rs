//! Errors as AWS sends them, and errors of decoding.

use std::fmt;

use serde_json::{Map, Value};

/// An error answer of a service: what a client sees.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceError {
    /// AWS's code, as on the wire: `ClusterNotFoundException`, `ValidationError`.
    pub code: String,
    pub message: String,
    /// HTTP status.
    pub status: u16,
    /// Set by the client from the answer; the server puts its own in.
    pub request_id: Option<String>,
    /// Further members of a modelled error, by their model names.
    pub details: Map<String, Value>,
}

/// A request or an answer that does not have the form its protocol prescribes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// Where: member names joined by dots, empty at the top.
    pub path: String,
    pub message: String,
}

impl ServiceError {
    pub fn new(code: impl Into<String>, message: impl Into<String>, status: u16) -> Self {
        ServiceError { code: code.into(), message: message.into(), status, request_id: None, details: Map::new() }
    }

    /// Adds a member of a modelled error, by its model name.
    pub fn with(mut self, member: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(member.into(), value.into());
        self
    }

    /// Whose fault it is, as XML protocols say it: below 500 the sender's.
    pub fn is_sender_fault(&self) -> bool {
        self.status < 500
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ServiceError {}

impl DecodeError {
    pub fn new(message: impl Into<String>) -> Self {
        DecodeError { path: String::new(), message: message.into() }
    }

    /// The same error, one level further out.
    #[must_use]
    pub fn inside(mut self, segment: &str) -> Self {
        if self.path.is_empty() {
            self.path = segment.to_owned();
        } else {
            self.path = format!("{segment}.{}", self.path);
        }
        self
    }
}
