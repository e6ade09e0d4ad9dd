//! `network`: where tasks are and who finds them.

use super::section::Section;
use super::yaml::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub connect: Option<Connect>,
    pub placement: Placement,
    /// Ids of groups that tasks have besides the environment's.
    pub security_groups: Vec<String>,
}

/// Service Connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The name by which others reach the service, if it is not its own.
    pub alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    Public,
    Private,
}

impl Network {
    pub(super) fn read(parent: &Section<'_>) -> Self {
        let mut network = Self { connect: None, placement: Placement::Public, security_groups: Vec::new() };
        let Some(section) = parent.section("network") else { return network };
        network.connect = match section.node("connect").map(|node| &node.kind) {
            None => None,
            Some(Kind::Map(_)) => section.section("connect").map(|inner| {
                let alias = inner.text("alias");
                inner.finish();
                Connect { alias }
            }),
            Some(_) => section.flag("connect").filter(|on| *on).map(|_| Connect { alias: None }),
        };
        if let Some(vpc) = section.section("vpc") {
            let placement = vpc.node("placement").map(|node| &node.kind);
            if matches!(placement, Some(Kind::Map(_))) {
                vpc.fault("placement", "subnets by id or tag are not supported: take public or private");
            } else if vpc.word("placement", &["public", "private"]) == Some("private") {
                network.placement = Placement::Private;
            }
            let groups = vpc.node("security_groups").map(|node| &node.kind);
            if matches!(groups, Some(Kind::Map(_))) {
                vpc.fault("security_groups", "give a list of ids: deny_default and from_cfn are not supported");
            } else {
                network.security_groups = vpc.texts("security_groups").unwrap_or_default();
            }
            vpc.finish();
        }
        section.finish();
        network
    }
}
