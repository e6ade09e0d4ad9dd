//! What is stored of repositories. Their images are the catalogue's.

use crate::store::Item;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    pub name: String,
    pub created_ms: i64,
    pub immutable_tags: bool,
    /// Echoed; images then show that they cannot be scanned here.
    pub scan_on_push: bool,
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub lifecycle: Option<Lifecycle>,
    /// The last preview of a lifecycle policy.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// The repository's own policy, as it was given.
    #[serde(default)]
    pub policy: Option<String>,
}

/// A lifecycle policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    pub text: String,
    /// When images were last looked at by it.
    pub evaluated_ms: Option<i64>,
}

/// What a lifecycle policy would have expired when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    pub text: String,
    pub images: Vec<PreviewedImage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewedImage {
    pub digest: String,
    pub tags: Vec<String>,
    pub pushed_at_ms: i64,
    /// Priority of the rule.
    pub rule: i32,
}

impl Item for Repository {
    const KIND: &'static str = "ecr.repository";
    fn key(&self) -> String {
        self.name.clone()
    }
}
