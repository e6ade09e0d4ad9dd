//! What is stored of parameters: their newest versions.

use crate::store::Item;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many versions are kept, as AWS does.
pub const VERSIONS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterType,
    pub description: Option<String>,
    /// Oldest first, never empty.
    pub versions: Vec<Version>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: i64,
    pub value: String,
    pub modified_ms: i64,
    /// ARN of who wrote it.
    pub modified_by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterType {
    String,
    StringList,
}

impl Item for Parameter {
    const KIND: &'static str = "ssm.parameter";
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl ParameterType {
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
        }
    }
}
