//! Parameters of the SSM parameter store.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::op;
use serde_json::{Map, Value, json};

/// `AWS::SSM::Parameter`.
pub struct Parameter;

impl ResourceType for Parameter {
    fn name(&self) -> &'static str {
        "AWS::SSM::Parameter"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AllowedPattern", "DataType", "Description", "Name", "Tags", "Tier", "Type", "Value"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Type", "Value"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Type", "Value"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Name", "Tags"]);
        let name = wanted.text("Name").unwrap_or_else(|| format!("CFN-{}", wanted.generated(500)));
        input.insert("Name".into(), name.clone().into());
        input.insert("Tags".into(), wanted.own_tags().into());
        call::<op::PutParameter>(ctx, input.into())?;
        Ok(Made::new(name).with("Type", wanted.needed("Type")?).with("Value", wanted.needed("Value")?))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteParameter>(ctx, json!({"Name": made.physical_id})))
    }
}
