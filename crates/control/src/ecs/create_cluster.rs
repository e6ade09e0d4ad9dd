//! CreateCluster.

use super::records::Cluster;
use super::{find, tags, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ClusterSetting, CreateClusterRequest, CreateClusterResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: CreateClusterRequest) -> Result<CreateClusterResponse> {
    let name = input.cluster_name.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.len() > 255 || !name.chars().all(valid) {
        return Err(error::invalid_parameter_exception(
            "Identifiers must contain only letters, numbers, underscores and hyphens, up to 255 of them.",
        ));
    }
    if input.service_connect_defaults.is_some() {
        return Err(error::client_exception("Service Connect (serviceConnectDefaults) is not supported here."));
    }
    let settings = settings(input.settings.unwrap_or_default())?;
    let capacity_providers = input.capacity_providers.unwrap_or_default();
    super::capacity::check_providers(
        ctx,
        &capacity_providers,
        input.default_capacity_provider_strategy.as_deref().unwrap_or_default(),
    )?;
    let arn = find::cluster_arn(ctx, &name);
    let known: Option<Cluster> = ctx.tx.get(&arn)?;
    let cluster = match known.filter(|cluster| cluster.active) {
        // Creating a cluster that is there returns it.
        Some(cluster) => cluster,
        None => Cluster {
            arn,
            name,
            active: true,
            settings,
            configuration: input.configuration,
            capacity_providers,
            default_strategy: input.default_capacity_provider_strategy.unwrap_or_default(),
            tags: tags::read(input.tags)?,
        },
    };
    ctx.tx.put(&cluster)?;
    let include = ["TAGS", "SETTINGS", "CONFIGURATIONS"].map(str::to_owned);
    Ok(CreateClusterResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &include)?) })
}

/// The settings of a request, `containerInsights` filled in. Metrics are not collected either way,
/// so only `disabled` is true here.
pub fn settings(given: Vec<ClusterSetting>) -> Result<Vec<ClusterSetting>> {
    for setting in &given {
        match (setting.name.as_deref(), setting.value.as_deref()) {
            (Some("containerInsights"), Some("disabled")) => {}
            (Some("containerInsights"), Some("enabled" | "enhanced")) => {
                return Err(error::client_exception("The setting containerInsights can only be 'disabled' here."));
            }
            (name, value) => {
                let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
                return Err(error::invalid_parameter_exception(format!(
                    "Invalid cluster setting '{name}' = '{value}'."
                )));
            }
        }
    }
    Ok(vec![ClusterSetting { name: Some("containerInsights".into()), value: Some("disabled".into()) }])
}
