//! `GetParametersByPath`: one level, or all levels below with `Recursive`.

use super::filters;
use super::parameters::{page, refuse, show, show_public, validation};
use super::public;
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{self as aws, GetParametersByPathRequest, GetParametersByPathResult};

pub fn handle(ctx: &mut Ctx<'_>, input: GetParametersByPathRequest) -> Result<GetParametersByPathResult> {
    let path = input.path.unwrap_or_default();
    if !path.starts_with('/') {
        return Err(validation(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".",
        ));
    }
    let filters = filters::read(input.parameter_filters);
    if let Some((key, ..)) = filters.iter().find(|(key, ..)| !["Type", "KeyId", "DataType"].contains(&key.as_str())) {
        return Err(refuse("InvalidFilterKey", format!("The filter key '{key}' is not valid here.")));
    }
    let decrypt = input.with_decryption.unwrap_or(false);
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let recursive = input.recursive.unwrap_or(false);
    let below = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| recursive || !rest.contains('/'));
    let mut found: Vec<aws::Parameter> = Vec::new();
    for parameter in ctx.tx.all::<Parameter>()?.iter().filter(|parameter| below(&parameter.name)) {
        let mut kept = true;
        for filter in &filters {
            kept &= filters::matches(parameter, filter)?;
        }
        if let Some(newest) = parameter.versions.last().filter(|_| kept) {
            found.push(show(ctx.platform, parameter, newest, decrypt)?);
        }
    }
    let shown = public::parameters();
    let all = filters.is_empty();
    found.extend(shown.iter().filter(|(name, _)| all && below(name)).map(|(n, v)| show_public(ctx.platform, n, v)));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let name = |parameter: &aws::Parameter| parameter.name.clone().unwrap_or_default();
    let named: Vec<_> = found.into_iter().map(|parameter| (name(&parameter), parameter)).collect();
    let (named, next_token) = page(named, |(name, _)| name, input.next_token.as_deref(), input.max_results, 10)?;
    let parameters = named.into_iter().map(|(_, parameter)| parameter).collect();
    Ok(GetParametersByPathResult { parameters: Some(parameters), next_token })
}
