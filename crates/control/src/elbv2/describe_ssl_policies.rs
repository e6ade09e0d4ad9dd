//! `DescribeSSLPolicies`.

use super::ssl_policies::{self, POLICIES, Policy};
use super::{errors, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{Cipher, DescribeSSLPoliciesInput, DescribeSSLPoliciesOutput, SslPolicy};

pub fn handle(_: &mut Ctx<'_>, input: DescribeSSLPoliciesInput) -> Result<DescribeSSLPoliciesOutput> {
    let names = input.names.unwrap_or_default();
    let found: Vec<&Policy> = if names.is_empty() {
        POLICIES.iter().collect()
    } else {
        let found: Option<Vec<_>> = names.iter().map(|name| ssl_policies::find(name)).collect();
        found.ok_or_else(|| errors::ssl_policy_not_found(format!("SSL policies '[{}]' not found", names.join(", "))))?
    };
    if let Some(kind) = input.load_balancer_type.as_deref().filter(|kind| *kind != "application") {
        return Err(errors::validation(format!("Load balancers of type '{kind}' are not supported here")));
    }
    let (found, next_marker) = page::page(found, |policy| policy.name, input.marker.as_deref(), input.page_size)?;
    Ok(DescribeSSLPoliciesOutput { ssl_policies: Some(found.into_iter().map(show).collect()), next_marker })
}

fn show(policy: &Policy) -> SslPolicy {
    let cipher = |(at, name)| Cipher { name: Some(name), priority: Some(at as i32 + 1) };
    SslPolicy {
        name: Some(policy.name.into()),
        ssl_protocols: Some(policy.protocols.iter().map(|&name| name.to_owned()).collect()),
        ciphers: Some(policy.ciphers().into_iter().enumerate().map(cipher).collect()),
        supported_load_balancer_types: Some(vec!["application".into()]),
    }
}
