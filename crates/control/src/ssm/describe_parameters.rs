//! `DescribeParameters`: the account's own, by name, type or path.

use super::parameters::{arn, page, refuse};
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{DescribeParametersRequest, DescribeParametersResult, ParameterMetadata};
use quarry_wire::Timestamp;

/// Key, option and values of one filter.
type Filter = (String, String, Vec<String>);

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeParametersRequest) -> Result<DescribeParametersResult> {
    let mut filters: Vec<Filter> = Vec::new();
    for filter in input.parameter_filters.unwrap_or_default() {
        let option = filter.option.unwrap_or_else(|| "Equals".into());
        filters.push((filter.key.unwrap_or_default(), option, filter.values.unwrap_or_default()));
    }
    for filter in input.filters.unwrap_or_default() {
        filters.push((filter.key.unwrap_or_default(), "BeginsWith".into(), filter.values.unwrap_or_default()));
    }
    let mut found: Vec<Parameter> = Vec::new();
    for parameter in ctx.tx.all::<Parameter>()? {
        let mut kept = true;
        for filter in &filters {
            kept &= matches(&parameter, filter)?;
        }
        if kept {
            found.push(parameter);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let (found, next_token) = page(found, |p| &p.name, input.next_token.as_deref(), input.max_results, 50)?;
    let show = |parameter: Parameter| {
        let newest = parameter.versions.last();
        ParameterMetadata {
            arn: Some(arn(ctx.platform, &parameter.name)),
            r#type: Some(parameter.kind.name().into()),
            last_modified_date: newest.map(|version| Timestamp::from_millis(version.modified_ms)),
            last_modified_user: newest.map(|version| version.modified_by.clone()),
            version: newest.map(|version| version.number),
            description: parameter.description,
            tier: Some("Standard".into()),
            data_type: Some("text".into()),
            policies: Some(Vec::new()),
            name: Some(parameter.name),
            ..Default::default()
        }
    };
    Ok(DescribeParametersResult { parameters: Some(found.into_iter().map(show).collect()), next_token })
}

fn matches(parameter: &Parameter, (key, option, values): &Filter) -> Result<bool> {
    let bad_option =
        || refuse("InvalidFilterOption", format!("The filter option '{option}' is not valid for '{key}'."));
    let name = parameter.name.as_str();
    match key.as_str() {
        "Name" => match option.as_str() {
            "Equals" => Ok(values.iter().any(|value| name == value)),
            "BeginsWith" => {
                Ok(values.iter().any(|value| name.trim_start_matches('/').starts_with(value.trim_start_matches('/'))))
            }
            "Contains" => Ok(values.iter().any(|value| name.contains(value))),
            _ => Err(bad_option()),
        },
        "Type" => match option.as_str() {
            "Equals" | "BeginsWith" => Ok(values.iter().any(|value| parameter.kind.name() == value)),
            _ => Err(bad_option()),
        },
        "Path" => {
            let below = |path: &String| name.strip_prefix(&format!("{}/", path.trim_end_matches('/')));
            match option.as_str() {
                "Recursive" => Ok(values.iter().any(|path| below(path).is_some())),
                "Equals" | "OneLevel" => {
                    Ok(values.iter().any(|path| below(path).is_some_and(|rest| !rest.contains('/'))))
                }
                _ => Err(bad_option()),
            }
        }
        _ => match key.strip_prefix("tag:") {
            Some(tag) => Ok(parameter.tags.get(tag).is_some_and(|value| values.is_empty() || values.contains(value))),
            None => Err(refuse("InvalidFilterKey", format!("The filter key '{key}' is not valid here."))),
        },
    }
}
