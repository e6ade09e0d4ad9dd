//! `DescribeParameters`: the account's own, by name, type or path.

use super::filters::{self, Filter};
use super::parameters::{metadata, page};
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{DescribeParametersRequest, DescribeParametersResult};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeParametersRequest) -> Result<DescribeParametersResult> {
    if input.shared.unwrap_or(false) {
        // Nobody shares parameters with this account.
        return Ok(DescribeParametersResult { parameters: Some(Vec::new()), next_token: None });
    }
    let mut filters: Vec<Filter> = filters::read(input.parameter_filters);
    for filter in input.filters.unwrap_or_default() {
        filters.push((filter.key.unwrap_or_default(), "BeginsWith".into(), filter.values.unwrap_or_default()));
    }
    let mut found: Vec<Parameter> = Vec::new();
    for parameter in ctx.tx.all::<Parameter>()? {
        let mut kept = true;
        for filter in &filters {
            kept &= filters::matches(&parameter, filter)?;
        }
        if kept {
            found.push(parameter);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let (found, next_token) = page(found, |p| &p.name, input.next_token.as_deref(), input.max_results, 50)?;
    Ok(DescribeParametersResult {
        parameters: Some(found.into_iter().map(|parameter| metadata(ctx.platform, parameter)).collect()),
        next_token,
    })
}
