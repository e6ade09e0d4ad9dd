//! `DescribeSSLPolicies`: none, as listeners are HTTP only.

use super::errors;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeSSLPoliciesInput, DescribeSSLPoliciesOutput};

pub fn handle(_: &mut Ctx<'_>, input: DescribeSSLPoliciesInput) -> Result<DescribeSSLPoliciesOutput> {
    match input.names.unwrap_or_default().as_slice() {
        [] => Ok(DescribeSSLPoliciesOutput { ssl_policies: Some(Vec::new()), next_marker: None }),
        names => Err(errors::ssl_policy_not_found(format!("SSL policies '[{}]' not found", names.join(", ")))),
    }
}
