//! Where tasks are to run: launch type, capacity provider strategy and platform version of a request,
//! checked against the cluster and the task definition.

use super::network::{self, Network};
use super::providers;
use super::records::{Cluster, LaunchType, TaskDefinition};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{self as aws, error};
use quarry_domain::arn::short_name;
use quarry_domain::container;
use quarry_domain::placement::Share;
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};

/// The capacity providers that every account has.
pub const FARGATE: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// The platform version that `LATEST` means.
pub const PLATFORM_VERSION: &str = "1.4.0";

/// How a request or a deployment says that its tasks run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub launch_type: LaunchType,
    /// Empty where a launch type was named.
    pub strategy: Vec<aws::CapacityProviderStrategyItem>,
    /// As it was asked for: `LATEST` or a number. Fargate only.
    pub platform_version: Option<String>,
    /// In network mode awsvpc.
    pub network: Option<Network>,
}

/// The members of a request that say how tasks are launched.
#[derive(Default)]
pub struct Asked<'a> {
    pub launch_type: Option<&'a str>,
    pub strategy: Option<&'a [aws::CapacityProviderStrategyItem]>,
    pub platform_version: Option<&'a str>,
    pub network: Option<&'a aws::NetworkConfiguration>,
    /// Placement constraints or strategies are given.
    pub placement: bool,
}

impl Launch {
    /// Checks what is asked for; without a launch type and a strategy the cluster's default holds.
    pub fn of(ctx: &mut Ctx<'_>, cluster: &Cluster, definition: &TaskDefinition, asked: &Asked<'_>) -> Result<Self> {
        let named = asked.launch_type.filter(|launch_type| !launch_type.is_empty());
        let given = asked.strategy.filter(|strategy| !strategy.is_empty());
        if named.is_some() && given.is_some() {
            return Err(invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
            ));
        }
        let strategy = match (named, given) {
            (Some(_), _) => Vec::new(),
            (None, Some(given)) => given.to_vec(),
            (None, None) => cluster.default_strategy.clone(),
        };
        check_strategy(&cluster.capacity_providers, &strategy)?;
        let launch_type = match named {
            Some("FARGATE") => LaunchType::Fargate,
            Some("EC2") => LaunchType::Ec2,
            Some(other @ ("EXTERNAL" | "MANAGED_INSTANCES")) => {
                return Err(error::unsupported_feature_exception(format!(
                    "The launch type {other} is not supported here. Use EC2 or FARGATE."
                )));
            }
            Some(other) => return Err(invalid(format!("Invalid launchType '{other}'."))),
            None if strategy.iter().any(|item| is_fargate(provider(item))) => LaunchType::Fargate,
            None => LaunchType::Ec2,
        };
        let network = network::check(ctx, asked.network, &definition.definition, launch_type)?;
        let version = asked.platform_version.filter(|version| !version.is_empty());
        match launch_type {
            LaunchType::Ec2 if version.is_some() => {
                return Err(invalid("The platform version must be null when specifying an EC2 launch type."));
            }
            LaunchType::Ec2 => {}
            LaunchType::Fargate => {
                check_fargate(definition)?;
                if asked.placement {
                    return Err(invalid("Placement constraints are not supported with FARGATE launch type."));
                }
                if !matches!(version, None | Some("LATEST" | PLATFORM_VERSION)) {
                    return Err(error::platform_unknown_exception("The specified platform does not exist."));
                }
            }
        }
        let platform_version = (launch_type == LaunchType::Fargate).then(|| version.unwrap_or("LATEST").to_owned());
        Ok(Self { launch_type, strategy, platform_version, network })
    }

    /// The strategy's shares. Empty where a launch type was named.
    pub fn shares(&self) -> Vec<Share> {
        let number = |n: Option<i32>, usual: u32| n.map_or(usual, |n| n.max(0).unsigned_abs());
        let alone = self.strategy.len() == 1;
        let share = |item: &aws::CapacityProviderStrategyItem| Share {
            provider: provider(item).to_owned(),
            base: number(item.base, 0),
            // A provider alone gets everything, whether or not a weight says so.
            weight: number(item.weight, 0).max(u32::from(alone)),
        };
        self.strategy.iter().map(share).collect()
    }
}

/// Checks providers that a cluster is to have, and its default strategy.
pub fn check_providers(
    ctx: &Ctx<'_>,
    providers: &[String],
    strategy: &[aws::CapacityProviderStrategyItem],
) -> Result<()> {
    for name in providers.iter().filter(|name| !is_fargate(short_name(name))) {
        if providers::find(ctx, name)?.is_none() {
            return Err(invalid(format!(
                "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
            )));
        }
    }
    check_strategy(providers, strategy)
}

fn check_strategy(associated: &[String], strategy: &[aws::CapacityProviderStrategyItem]) -> Result<()> {
    if strategy.len() > 20 {
        return Err(invalid("A capacity provider strategy can contain a maximum of 20 capacity providers."));
    }
    for (n, item) in strategy.iter().enumerate() {
        let name = provider(item);
        if !associated.iter().any(|known| short_name(known) == name) {
            return Err(invalid(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster or specify a valid capacity provider and try again.",
            ));
        }
        if strategy[..n].iter().any(|other| provider(other) == name) {
            return Err(invalid("The specified capacity provider strategy cannot contain the same provider twice."));
        }
        if !(0..=1000).contains(&item.weight.unwrap_or(0)) || !(0..=100_000).contains(&item.base.unwrap_or(0)) {
            return Err(invalid(
                "The weight of a capacity provider must be between 0 and 1000, its base between 0 and 100000.",
            ));
        }
    }
    if strategy.iter().filter(|item| item.base.unwrap_or(0) > 0).count() > 1 {
        return Err(invalid(
            "A capacity provider strategy cannot have more than one capacity provider with a base value.",
        ));
    }
    if strategy.len() > 1 && strategy.iter().all(|item| item.weight.unwrap_or(0) == 0) {
        return Err(invalid(
            "The specified capacity provider strategy must have at least one capacity provider with a weight greater than zero.",
        ));
    }
    if strategy.iter().any(|item| is_fargate(provider(item))) && strategy.iter().any(|item| !is_fargate(provider(item)))
    {
        return Err(invalid(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers. Specify one or the other and try again.",
        ));
    }
    Ok(())
}

/// Whether it is one of the two that every account has.
pub fn is_fargate(provider: &str) -> bool {
    FARGATE.contains(&provider)
}

fn provider(item: &aws::CapacityProviderStrategyItem) -> &str {
    short_name(item.capacity_provider.as_deref().unwrap_or_default())
}

fn check_fargate(definition: &TaskDefinition) -> Result<()> {
    container::check_fargate(&definition.definition)
        .map_err(|_| invalid("Task definition does not support launch_type FARGATE."))
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}
