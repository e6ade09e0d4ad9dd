//! Attributes of the account that are true of this installation.

use super::resource::error;
use crate::api::{Ctx, Result};
use quarry_aws::ec2::{
    AccountAttribute, AccountAttributeValue, DescribeAccountAttributesRequest, DescribeAccountAttributesResult,
};

/// There is no EC2-Classic and no default VPC.
const ATTRIBUTES: [(&str, &str); 2] = [("supported-platforms", "VPC"), ("default-vpc", "none")];

pub fn describe(
    _ctx: &mut Ctx<'_>,
    input: DescribeAccountAttributesRequest,
) -> Result<DescribeAccountAttributesResult> {
    let wanted = input.attribute_names.unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|name| !ATTRIBUTES.iter().any(|(known, _)| known == name)) {
        return Err(error("InvalidParameterValue", format!("Invalid attribute name: {unknown}")));
    }
    let shown = ATTRIBUTES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    let attributes = shown.map(|(name, value)| AccountAttribute {
        attribute_name: Some((*name).into()),
        attribute_values: Some(vec![AccountAttributeValue { attribute_value: Some((*value).into()) }]),
    });
    Ok(DescribeAccountAttributesResult { account_attributes: Some(attributes.collect()) })
}
