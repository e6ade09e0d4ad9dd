//! What the AWS CDK says about itself.

use super::{Made, Progress, ResourceType, Wanted};
use crate::api::{Ctx, Result};
use serde_json::{Map, Value};

/// `AWS::CDK::Metadata`: nothing but its own properties, as on AWS.
pub struct Metadata;

impl ResourceType for Metadata {
    fn name(&self) -> &'static str {
        "AWS::CDK::Metadata"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Analytics", "Modules"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        self.properties()
    }

    fn create(&self, ctx: &mut Ctx<'_>, _wanted: &Wanted) -> Result<Made> {
        Ok(Made::new(ctx.platform.door.uuid()))
    }

    fn update(&self, _ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, _new: &Wanted) -> Result<Made> {
        Ok(made.clone())
    }

    fn delete(&self, _ctx: &mut Ctx<'_>, _made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        Ok(Progress::Done)
    }
}
