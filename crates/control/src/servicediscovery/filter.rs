//! Filters of the listings.

use super::find::invalid;
use crate::api::Result;

/// One filter: a name, a condition (EQ where none is given) and values.
pub struct Filter {
    pub name: String,
    pub condition: String,
    pub values: Vec<String>,
}

impl Filter {
    pub fn new(name: Option<String>, condition: Option<String>, values: Option<Vec<String>>) -> Self {
        Self {
            name: name.unwrap_or_default(),
            condition: condition.unwrap_or_else(|| "EQ".into()),
            values: values.unwrap_or_default(),
        }
    }

    /// Refuses a condition that the filter does not know, and as many values as the condition does not take.
    /// `known`: conditions by filter.
    pub fn check(&self, known: &[(&str, &[&str])]) -> Result<()> {
        let conditions = known.iter().find(|(name, _)| *name == self.name).map(|(_, conditions)| *conditions);
        let conditions = conditions.ok_or_else(|| invalid(format!("The filter '{}' is not valid here.", self.name)))?;
        if !conditions.contains(&self.condition.as_str()) {
            return Err(invalid(format!(
                "The condition {} is not valid for the filter {}.",
                self.condition, self.name
            )));
        }
        let valid = match self.condition.as_str() {
            "IN" => !self.values.is_empty(),
            "BETWEEN" => self.values.len() == 2,
            _ => self.values.len() == 1,
        };
        match valid {
            true => Ok(()),
            false => Err(invalid(format!(
                "The condition {} of the filter {} does not take {} values.",
                self.condition,
                self.name,
                self.values.len()
            ))),
        }
    }

    /// For EQ, IN and BEGINS_WITH.
    pub fn passes(&self, value: &str) -> bool {
        match self.condition.as_str() {
            "BEGINS_WITH" => self.values.iter().any(|prefix| value.starts_with(prefix.as_str())),
            _ => self.values.iter().any(|wanted| wanted == value),
        }
    }
}
