//! What is stored of parameters: their newest versions.

use crate::store::Item;
use crate::vault::Sealed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many versions are kept, as AWS does.
pub const VERSIONS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    /// Of the newest version.
    pub kind: ParameterType,
    #[serde(default)]
    pub tier: Tier,
    pub description: Option<String>,
    /// A regular expression that every value matches.
    #[serde(default)]
    pub allowed_pattern: Option<String>,
    /// Oldest first, never empty.
    pub versions: Vec<Version>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: i64,
    /// Absent: that of the parameter.
    #[serde(default)]
    pub kind: Option<ParameterType>,
    pub value: Value,
    pub modified_ms: i64,
    /// ARN of who wrote it.
    pub modified_by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterType {
    String,
    StringList,
    SecureString,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Values of up to 4 KiB.
    #[default]
    Standard,
    /// Values of up to 8 KiB.
    Advanced,
}

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Plain(String),
    /// Of a SecureString.
    Secure {
        sealed: Sealed,
    },
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
            Self::SecureString => "SecureString",
        }
    }
}

impl Tier {
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Advanced => "Advanced",
        }
    }

    /// The longest value in bytes.
    pub fn longest(self) -> usize {
        match self {
            Self::Standard => 4096,
            Self::Advanced => 8192,
        }
    }
}
