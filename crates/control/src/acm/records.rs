//! What is stored of certificates and of the authority that issues them.

use crate::store::Item;
use crate::vault::Sealed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub arn: String,
    pub origin: Origin,
    /// PEM, its own certificate alone.
    pub body: String,
    /// PEM of those that lead from it to the root.
    pub chain: Option<String>,
    /// PEM, sealed in [`key_context`](quarry_domain::snapshot::TlsCertificate::key_context).
    pub key: Sealed,
    pub facts: Facts,
    pub created_ms: i64,
    /// `CertificateTransparencyLoggingPreference`, of issued ones.
    pub transparency: bool,
    pub tags: BTreeMap<String, String>,
}

/// Where a certificate is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    Imported {
        at_ms: i64,
    },
    /// By the installation's own authority; the request's token and its own parameters.
    Issued {
        token: Option<String>,
        domain: String,
        alternatives: Vec<String>,
        algorithm: String,
    },
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Lower case, the subject's common name first if it is a domain.
    pub names: Vec<String>,
    /// `CN=example.com,O=…`
    pub subject: String,
    /// The issuer's common name.
    pub issuer: String,
    /// Pairs of hexadecimal digits with colons.
    pub serial: String,
    pub not_before_ms: i64,
    pub not_after_ms: i64,
    /// As ACM names it: `RSA_2048`, `EC_prime256v1`.
    pub key_algorithm: String,
    /// `SHA256WITHRSA`
    pub signature_algorithm: String,
    /// ACM's names.
    pub key_usages: Vec<String>,
    /// ACM's name and the object identifier.
    pub extended_key_usages: Vec<(String, String)>,
}

/// The authority that issues what is requested. One.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// PEM.
    pub certificate: String,
    /// PEM, sealed.
    pub key: Sealed,
}

impl Item for Certificate {
    const KIND: &'static str = "acm.certificate";
    fn key(&self) -> String {
        self.arn.clone()
    }
}

impl Item for Authority {
    const KIND: &'static str = "acm.authority";
    fn key(&self) -> String {
        String::new()
    }
}

impl Certificate {
    /// Its own certificate and those that lead to the root, PEM.
    pub fn whole_chain(&self) -> String {
        let mut whole = self.body.trim_end().to_owned() + "\n";
        if let Some(chain) = &self.chain {
            whole += chain.trim_end();
            whole.push('\n');
        }
        whole
    }
}
