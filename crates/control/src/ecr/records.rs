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
}

impl Item for Repository {
    const KIND: &'static str = "ecr.repository";
    fn key(&self) -> String {
        self.name.clone()
    }
}
