//! Amazon Resource Names and the account and region that all of them carry.

use serde::{Deserialize, Serialize};

/// The account and region of this installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Twelve digits.
    pub account: String,
    /// For example `us-east-1`.
    pub region: String,
}

impl Place {
    /// `arn:aws:<service>:<region>:<account>:<resource>`.
    pub fn arn(&self, service: &str, resource: impl std::fmt::Display) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    /// An ARN of a service without regions, such as IAM: `arn:aws:iam::<account>:<resource>`.
    pub fn global_arn(&self, service: &str, resource: impl std::fmt::Display) -> String {
        format!("arn:aws:{service}::{}:{resource}", self.account)
    }

    /// The names of the region's availability zones, `<region>a`, `<region>b`, `<region>c`.
    pub fn zones(&self) -> [String; 3] {
        ["a", "b", "c"].map(|z| format!("{}{z}", self.region))
    }
}

/// The part of an ARN after the account (`cluster/default`), or the text itself if it is no ARN.
pub fn resource_part(arn_or_name: &str) -> &str {
    let mut parts = arn_or_name.splitn(6, ':');
    match (parts.next(), parts.nth(4)) {
        (Some("arn"), Some(resource)) => resource,
        _ => arn_or_name,
    }
}

/// The last `/`-separated segment of an ARN or name: a cluster's, service's or task's short name.
pub fn short_name(arn_or_name: &str) -> &str {
    let resource = resource_part(arn_or_name);
    resource.rsplit('/').next().unwrap_or(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_arns_and_names() {
        let place = Place { account: "000000000000".into(), region: "us-east-1".into() };
        let arn = place.arn("ecs", "service/demo/api");
        assert_eq!(arn, "arn:aws:ecs:us-east-1:000000000000:service/demo/api");
        assert_eq!(resource_part(&arn), "service/demo/api");
        assert_eq!(short_name(&arn), "api");
        assert_eq!(short_name("api"), "api");
        assert_eq!(resource_part("family:3"), "family:3");
    }
}
