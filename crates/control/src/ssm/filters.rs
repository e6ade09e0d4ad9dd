//! What listings of parameters are filtered by.

use super::parameters::{KEY, refuse};
use super::records::{Parameter, ParameterType};
use crate::api::Result;
use quarry_aws::ssm::ParameterStringFilter;

/// Key, option and values of one filter.
pub type Filter = (String, String, Vec<String>);

/// Filters as they are given; equality where no option is named.
pub fn read(filters: Option<Vec<ParameterStringFilter>>) -> Vec<Filter> {
    let read = |filter: ParameterStringFilter| {
        let option = filter.option.unwrap_or_else(|| "Equals".into());
        (filter.key.unwrap_or_default(), option, filter.values.unwrap_or_default())
    };
    filters.unwrap_or_default().into_iter().map(read).collect()
}

/// Whether a parameter passes a filter; the error of a filter that makes no sense.
pub fn matches(parameter: &Parameter, (key, option, values): &Filter) -> Result<bool> {
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
        "Tier" | "DataType" | "KeyId" if option == "Equals" => {
            let own = match key.as_str() {
                "Tier" => Some(parameter.tier.name()),
                "DataType" => Some("text"),
                _ => (parameter.kind == ParameterType::SecureString).then_some(KEY),
            };
            Ok(own.is_some_and(|own| values.iter().any(|value| own == value)))
        }
        "KeyId" if option == "BeginsWith" => {
            Ok(parameter.kind == ParameterType::SecureString
                && values.iter().any(|value| KEY.starts_with(value.as_str())))
        }
        "Tier" | "DataType" | "KeyId" => Err(bad_option()),
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
