//! What the control store keeps of X-Ray: sampling rules and groups. Traces have a store of their own.

use crate::store::Item;
use quarry_aws::xray as aws;
use quarry_domain::trace::sampling::SamplingRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub rule: SamplingRule,
    pub arn: String,
    /// Patterns of attributes' values, by their names.
    pub attributes: BTreeMap<String, String>,
    pub created_ms: i64,
    pub modified_ms: i64,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub arn: String,
    pub filter: String,
    pub tags: BTreeMap<String, String>,
}

/// When a sampling rule was changed or deleted last; there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modified {
    pub at_ms: i64,
}

impl Item for Rule {
    const KIND: &'static str = "xray.rule";
    fn key(&self) -> String {
        self.rule.name.clone()
    }
}

impl Item for Group {
    const KIND: &'static str = "xray.group";
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Item for Modified {
    const KIND: &'static str = "xray.modified";
    fn key(&self) -> String {
        String::new()
    }
}

impl Rule {
    pub fn shown(&self) -> aws::SamplingRuleRecord {
        let SamplingRule { name, priority, fixed_rate, reservoir, .. } = self.rule.clone();
        let rule = self.rule.clone();
        aws::SamplingRuleRecord {
            sampling_rule: Some(aws::SamplingRule {
                rule_name: Some(name),
                rule_arn: Some(self.arn.clone()),
                resource_arn: Some(rule.resource_arn),
                priority: Some(priority),
                fixed_rate: Some(fixed_rate),
                reservoir_size: Some(i32::try_from(reservoir).unwrap_or(i32::MAX)),
                service_name: Some(rule.service_name),
                service_type: Some(rule.service_type),
                host: Some(rule.host),
                http_method: Some(rule.method),
                url_path: Some(rule.path),
                version: Some(1),
                attributes: Some(self.attributes.clone()),
                sampling_rate_boost: None,
            }),
            created_at: Some(quarry_wire::Timestamp::from_millis(self.created_ms)),
            modified_at: Some(quarry_wire::Timestamp::from_millis(self.modified_ms)),
        }
    }
}

impl Group {
    pub fn shown(&self) -> aws::Group {
        aws::Group {
            group_name: Some(self.name.clone()),
            group_arn: Some(self.arn.clone()),
            filter_expression: Some(self.filter.clone()),
            insights_configuration: Some(no_insights()),
        }
    }
}

/// There are none here.
pub fn no_insights() -> aws::InsightsConfiguration {
    aws::InsightsConfiguration { insights_enabled: Some(false), notifications_enabled: Some(false) }
}
