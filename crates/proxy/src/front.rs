//! What a connection keeps of its listener, whatever routing table is in force.

use crate::logs::Sink;
use crate::target::Balancer;
use quarry_domain::snapshot::ListenerAttributes;
use std::fmt::Write;
use std::sync::Arc;

/// A listener as its connections and requests know it.
pub struct Front {
    pub balancer: Arc<Balancer>,
    pub edits: Edits,
    /// Where lines go, if they are written.
    pub access_log: Option<Arc<Sink>>,
    pub connection_log: Option<Arc<Sink>>,
    /// The load balancer's.
    pub name: String,
    pub arn: String,
    /// For lines of requests that were not understood.
    pub dns_name: String,
    pub port: u16,
}

/// What a listener changes in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edits {
    /// Answers of the balancer's own say `Server: awselb/2.0`.
    pub server: bool,
    /// Whole header lines that every final answer gets.
    pub lines: String,
    /// Their names: a target's own headers of these names are taken out.
    names: Vec<String>,
}

/// Of a connection whose listener is not known yet.
pub static UNEDITED: Edits = Edits { server: true, lines: String::new(), names: Vec::new() };

impl Edits {
    pub fn new(attributes: &ListenerAttributes) -> Self {
        let mut edits = Self { server: attributes.server, ..UNEDITED.clone() };
        for (name, value) in &attributes.response_headers {
            write!(edits.lines, "{name}: {value}\r\n").expect("memory");
            edits.names.push(name.clone());
        }
        edits
    }

    /// Whether a target's header of this name is replaced.
    pub fn replaces(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}
