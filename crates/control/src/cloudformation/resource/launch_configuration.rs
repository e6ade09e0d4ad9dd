//! Launch configurations.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::LaunchConfiguration`.
pub struct LaunchConfiguration;

impl ResourceType for LaunchConfiguration {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::LaunchConfiguration"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AssociatePublicIpAddress",
            "BlockDeviceMappings",
            "EbsOptimized",
            "IamInstanceProfile",
            "ImageId",
            "InstanceId",
            "InstanceMonitoring",
            "InstanceType",
            "KeyName",
            "LaunchConfigurationName",
            "MetadataOptions",
            "PlacementTenancy",
            "SecurityGroups",
            "SpotPrice",
            "UserData",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("LaunchConfigurationName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["InstanceMonitoring", "LaunchConfigurationName"]);
        if let Some(enabled) = wanted.properties.get("InstanceMonitoring") {
            input.insert("InstanceMonitoring".into(), json!({"Enabled": enabled}));
        }
        let name = wanted.name("LaunchConfigurationName", 255);
        input.insert("LaunchConfigurationName".into(), name.clone().into());
        call::<op::CreateLaunchConfiguration>(ctx, input.into())?;
        Ok(Made::new(name))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"LaunchConfigurationNames": [made.physical_id]});
        let output = call::<op::DescribeLaunchConfigurations>(ctx, input)?;
        let found = output.pointer("/LaunchConfigurations/0");
        Ok(members(found.ok_or_else(|| absent("The launch configuration is not there"))?, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLaunchConfiguration>(ctx, json!({"LaunchConfigurationName": made.physical_id})))
    }
}
