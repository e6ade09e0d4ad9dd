//! Rule conditions: read from a request in their legacy form (`Field` and `Values`) or their
//! `…Config` form, checked against AWS's limits, and shown in both.

use super::{errors, limits};
use crate::api::Result;
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::Condition;
use quarry_wire::ServiceError;
use std::net::IpAddr;

const FIELDS: &str = "[http-header, http-request-method, host-header, path-pattern, query-string, source-ip]";

/// The conditions of one rule.
pub fn read(conditions: Option<Vec<aws::RuleCondition>>) -> Result<Vec<Condition>> {
    let conditions = conditions.unwrap_or_default();
    if conditions.is_empty() {
        return Err(errors::validation("A rule must have at least one condition"));
    }
    let conditions = conditions.into_iter().map(read_one).collect::<Result<Vec<_>>>()?;
    for kind in ["host-header", "path-pattern", "http-request-method", "source-ip"] {
        if conditions.iter().filter(|c| field(c) == kind).count() > 1 {
            return Err(errors::validation(format!("A rule can have at most one '{kind}' condition")));
        }
    }
    for condition in &conditions {
        if values(condition) > limits::VALUES_PER_CONDITION && !matches!(condition, Condition::SourceIp(_)) {
            return Err(errors::validation(format!(
                "The '{}' field contains too many values; the limit is '{}'",
                field(condition),
                limits::VALUES_PER_CONDITION
            )));
        }
    }
    if conditions.iter().map(values).sum::<usize>() > limits::VALUES_PER_RULE {
        return Err(errors::validation(format!(
            "A rule can have at most '{}' condition values",
            limits::VALUES_PER_RULE
        )));
    }
    if conditions.iter().map(wildcards).sum::<usize>() > limits::WILDCARDS_PER_RULE {
        return Err(errors::validation(format!(
            "A rule can have at most '{}' wildcards in its conditions",
            limits::WILDCARDS_PER_RULE
        )));
    }
    Ok(conditions)
}

/// As AWS shows it: `Values` beside the configuration where the legacy form exists.
pub fn show(condition: &Condition) -> aws::RuleCondition {
    let mut shown = aws::RuleCondition { field: Some(field(condition).to_owned()), ..Default::default() };
    match condition.clone() {
        Condition::PathPattern(values) => {
            shown.values = Some(values.clone());
            shown.path_pattern_config =
                Some(aws::PathPatternConditionConfig { values: Some(values), ..Default::default() });
        }
        Condition::HostHeader(values) => {
            shown.values = Some(values.clone());
            shown.host_header_config =
                Some(aws::HostHeaderConditionConfig { values: Some(values), ..Default::default() });
        }
        Condition::HttpHeader { name, values } => {
            shown.http_header_config = Some(aws::HttpHeaderConditionConfig {
                http_header_name: Some(name),
                values: Some(values),
                ..Default::default()
            });
        }
        Condition::HttpRequestMethod(values) => {
            shown.http_request_method_config = Some(aws::HttpRequestMethodConditionConfig { values: Some(values) });
        }
        Condition::QueryString(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| aws::QueryStringKeyValuePair { key, value: Some(value) });
            shown.query_string_config = Some(aws::QueryStringConditionConfig { values: Some(pairs.collect()) });
        }
        Condition::SourceIp(values) => {
            shown.source_ip_config = Some(aws::SourceIpConditionConfig { values: Some(values) });
        }
    }
    shown
}

fn read_one(condition: aws::RuleCondition) -> Result<Condition> {
    let regex = [
        &condition.regex_values,
        &condition.host_header_config.as_ref().and_then(|c| c.regex_values.clone()),
        &condition.path_pattern_config.as_ref().and_then(|c| c.regex_values.clone()),
        &condition.http_header_config.as_ref().and_then(|c| c.regex_values.clone()),
    ];
    if regex.into_iter().any(|values| values.as_ref().is_some_and(|values| !values.is_empty())) {
        return Err(errors::validation("Regular expressions in conditions are not supported; use wildcards"));
    }
    let legacy = condition.values.clone().filter(|values| !values.is_empty());
    let field = match &condition.field {
        Some(field) => field.clone(),
        None => return Err(errors::validation("A condition field must be specified")),
    };
    if !FIELDS.trim_matches(['[', ']']).split(", ").any(|known| known == field) {
        return Err(errors::validation(format!("Condition field '{field}' must be one of '{FIELDS}'")));
    }
    if legacy.is_some() && !matches!(field.as_str(), "host-header" | "path-pattern") {
        return Err(errors::validation(format!("The 'Values' field is not compatible with '{field}'")));
    }
    match field.as_str() {
        "path-pattern" => {
            let config = condition.path_pattern_config.and_then(|c| c.values);
            let values = either(&field, "PathPatternConfig", legacy, config)?;
            for value in &values {
                check_length(&field, value, limits::VALUE_LENGTH)?;
                if !value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&*?".contains(c)) {
                    return Err(errors::validation(format!(
                        "The 'path-pattern' value '{value}' contains characters that are not valid"
                    )));
                }
            }
            Ok(Condition::PathPattern(values))
        }
        "host-header" => {
            let config = condition.host_header_config.and_then(|c| c.values);
            let values = either(&field, "HostHeaderConfig", legacy, config)?;
            for value in &values {
                check_length(&field, value, limits::VALUE_LENGTH)?;
                check_host(value)?;
            }
            Ok(Condition::HostHeader(values))
        }
        "http-header" => {
            let config = condition.http_header_config.ok_or_else(|| missing_config("HttpHeaderConfig", &field))?;
            let name = config.http_header_name.unwrap_or_default();
            if name.is_empty() {
                return Err(errors::validation("A 'HttpHeaderName' must be specified in 'HttpHeaderConfig'"));
            }
            if name.len() > 40 {
                return Err(errors::validation("The 'HttpHeaderName' value is too long; the limit is '40'"));
            }
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
                return Err(errors::validation(format!(
                    "The 'HttpHeaderName' value '{name}' is not a valid header name"
                )));
            }
            if name.eq_ignore_ascii_case("host") {
                return Err(errors::validation(
                    "A 'http-header' condition cannot be used for the host header; use a 'host-header' condition",
                ));
            }
            let values = present(&field, config.values)?;
            for value in &values {
                check_length(&field, value, limits::VALUE_LENGTH)?;
            }
            Ok(Condition::HttpHeader { name, values })
        }
        "http-request-method" => {
            let config = condition
                .http_request_method_config
                .ok_or_else(|| missing_config("HttpRequestMethodConfig", &field))?;
            let values = present(&field, config.values)?;
            for value in &values {
                check_length(&field, value, 40)?;
                if !value.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_') || value.is_empty() {
                    return Err(errors::validation(
                        "The 'http-request-method' value is invalid; the allowed characters are A-Z, hyphen and underscore",
                    ));
                }
            }
            Ok(Condition::HttpRequestMethod(values))
        }
        "query-string" => {
            let config = condition.query_string_config.ok_or_else(|| missing_config("QueryStringConfig", &field))?;
            let pairs = config.values.filter(|pairs| !pairs.is_empty()).ok_or_else(|| no_value(&field))?;
            let pairs = pairs.into_iter().map(|pair| {
                let value = pair
                    .value
                    .ok_or_else(|| errors::validation("A 'Value' must be specified in 'QueryStringKeyValuePair'"))?;
                check_length("Value", &value, limits::VALUE_LENGTH)?;
                if let Some(key) = &pair.key {
                    check_length("Key", key, limits::VALUE_LENGTH)?;
                }
                Ok((pair.key, value))
            });
            Ok(Condition::QueryString(pairs.collect::<Result<_>>()?))
        }
        "source-ip" => {
            let config = condition.source_ip_config.ok_or_else(|| missing_config("SourceIpConfig", &field))?;
            let values = present(&field, config.values)?;
            for value in &values {
                if !is_cidr(value) {
                    return Err(errors::validation(format!("The 'source-ip' value '{value}' must be in CIDR format")));
                }
            }
            Ok(Condition::SourceIp(values))
        }
        other => Err(errors::validation(format!("Condition field '{other}' must be one of '{FIELDS}'"))),
    }
}

fn either(
    field: &str,
    config_name: &str,
    legacy: Option<Vec<String>>,
    config: Option<Vec<String>>,
) -> Result<Vec<String>> {
    match (legacy, config.filter(|values| !values.is_empty())) {
        // What a description shows is accepted back.
        (Some(legacy), Some(config)) if legacy == config => Ok(config),
        (Some(_), Some(_)) => Err(errors::validation(format!(
            "You cannot provide both Values and '{config_name}' for a condition of type '{field}'"
        ))),
        (Some(values), None) | (None, Some(values)) => Ok(values),
        (None, None) => Err(no_value(field)),
    }
}

fn present(field: &str, values: Option<Vec<String>>) -> Result<Vec<String>> {
    values.filter(|values| !values.is_empty()).ok_or_else(|| no_value(field))
}

fn no_value(field: &str) -> ServiceError {
    match field {
        "host-header" | "path-pattern" => errors::validation("A condition value must be specified"),
        _ => errors::validation(format!("A '{field}' value must be specified")),
    }
}

fn missing_config(config: &str, field: &str) -> ServiceError {
    errors::validation(format!("A '{config}' must be specified with '{field}'"))
}

fn check_length(field: &str, value: &str, limit: usize) -> Result<()> {
    if value.chars().count() > limit {
        return Err(errors::validation(format!("The '{field}' value is too long; the limit is '{limit}'")));
    }
    if value.is_empty() && field != "Value" && field != "Key" {
        return Err(no_value(field));
    }
    Ok(())
}

fn check_host(value: &str) -> Result<()> {
    let valid = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.*?".contains(&b))
        && value
            .rsplit_once('.')
            .is_some_and(|(_, last)| !last.is_empty() && last.bytes().all(|b| b.is_ascii_alphabetic()));
    if valid {
        Ok(())
    } else {
        Err(errors::validation(format!("The 'host-header' value '{value}' is not a valid host name pattern")))
    }
}

fn is_cidr(value: &str) -> bool {
    let Some((address, bits)) = value.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>()) else { return false };
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

fn field(condition: &Condition) -> &'static str {
    match condition {
        Condition::PathPattern(_) => "path-pattern",
        Condition::HostHeader(_) => "host-header",
        Condition::HttpHeader { .. } => "http-header",
        Condition::HttpRequestMethod(_) => "http-request-method",
        Condition::QueryString(_) => "query-string",
        Condition::SourceIp(_) => "source-ip",
    }
}

fn values(condition: &Condition) -> usize {
    match condition {
        Condition::PathPattern(values)
        | Condition::HostHeader(values)
        | Condition::HttpHeader { values, .. }
        | Condition::HttpRequestMethod(values)
        | Condition::SourceIp(values) => values.len(),
        Condition::QueryString(pairs) => pairs.len(),
    }
}

fn wildcards(condition: &Condition) -> usize {
    let count = |text: &String| text.bytes().filter(|b| matches!(b, b'*' | b'?')).count();
    match condition {
        Condition::PathPattern(values) | Condition::HostHeader(values) | Condition::HttpHeader { values, .. } => {
            values.iter().map(count).sum()
        }
        Condition::QueryString(pairs) => {
            pairs.iter().flat_map(|(key, value)| key.iter().chain([value])).map(|text| unescaped(text)).sum()
        }
        Condition::HttpRequestMethod(_) | Condition::SourceIp(_) => 0,
    }
}

/// Wildcards that no backslash makes literal.
fn unescaped(text: &str) -> usize {
    let (mut count, mut escaped) = (0, false);
    for c in text.chars() {
        if !escaped && matches!(c, '*' | '?') {
            count += 1;
        }
        escaped = c == '\\' && !escaped;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(field: &str, values: &[&str]) -> aws::RuleCondition {
        aws::RuleCondition {
            field: Some(field.into()),
            values: Some(values.iter().map(|v| v.to_string()).collect()),
            ..Default::default()
        }
    }

    fn methods(values: &[&str]) -> aws::RuleCondition {
        let values = Some(values.iter().map(|v| v.to_string()).collect());
        aws::RuleCondition {
            field: Some("http-request-method".into()),
            http_request_method_config: Some(aws::HttpRequestMethodConditionConfig { values }),
            ..Default::default()
        }
    }

    fn header(name: &str, values: &[&str]) -> aws::RuleCondition {
        let config = aws::HttpHeaderConditionConfig {
            http_header_name: Some(name.into()),
            values: Some(values.iter().map(|v| v.to_string()).collect()),
            ..Default::default()
        };
        aws::RuleCondition { field: Some("http-header".into()), http_header_config: Some(config), ..Default::default() }
    }

    fn query(pairs: &[(Option<&str>, Option<&str>)]) -> aws::RuleCondition {
        let owned = |text: &Option<&str>| text.map(str::to_owned);
        let pairs =
            pairs.iter().map(|(key, value)| aws::QueryStringKeyValuePair { key: owned(key), value: owned(value) });
        aws::RuleCondition {
            field: Some("query-string".into()),
            query_string_config: Some(aws::QueryStringConditionConfig { values: Some(pairs.collect()) }),
            ..Default::default()
        }
    }

    fn bare(field: &str) -> aws::RuleCondition {
        aws::RuleCondition { field: Some(field.into()), ..Default::default() }
    }

    fn source_ip(value: &str) -> aws::RuleCondition {
        aws::RuleCondition {
            field: Some("source-ip".into()),
            source_ip_config: Some(aws::SourceIpConditionConfig { values: Some(vec![value.into()]) }),
            ..Default::default()
        }
    }

    #[test]
    fn the_legacy_form_is_shown_in_both_forms_and_accepted_back() {
        let read_once = read(Some(vec![legacy("path-pattern", &["/api/users*"])])).unwrap();
        let shown = show(&read_once[0]);
        assert_eq!(shown.values, Some(vec!["/api/users*".to_owned()]));
        assert_eq!(shown.path_pattern_config.clone().unwrap().values, Some(vec!["/api/users*".to_owned()]));
        assert_eq!(read(Some(vec![shown])).unwrap(), read_once);
    }

    #[test]
    fn what_the_limits_refuse() {
        let long = format!("/{}", "a".repeat(128));
        let cases: Vec<(Vec<aws::RuleCondition>, &str)> = vec![
            (vec![], "at least one condition"),
            (vec![legacy("path", &["/a"])], "must be one of"),
            (vec![legacy("path-pattern", &[])], "A condition value must be specified"),
            (vec![legacy("path-pattern", &["/a", "/b", "/c", "/d"])], "too many values; the limit is '3'"),
            (vec![legacy("path-pattern", &[&long])], "too long; the limit is '128'"),
            (vec![legacy("path-pattern", &["/a b"])], "not valid"),
            (vec![legacy("path-pattern", &["/?*?*?*"])], "at most '5' wildcards"),
            (vec![legacy("path-pattern", &["/a"]), legacy("path-pattern", &["/b"])], "at most one 'path-pattern'"),
            (
                vec![legacy("path-pattern", &["/a", "/b", "/c"]), legacy("host-header", &["a.b", "b.c", "c.d"])],
                "at most '5' condition values",
            ),
            (vec![legacy("host-header", &["nodots"])], "not a valid host name"),
            (vec![legacy("source-ip", &["10.0.0.0/8"])], "not compatible with 'source-ip'"),
            (vec![methods(&["get"])], "allowed characters are A-Z"),
            (vec![methods(&[&"A".repeat(41)])], "too long; the limit is '40'"),
            (vec![methods(&[])], "A 'http-request-method' value must be specified"),
            (vec![bare("http-request-method")], "A 'HttpRequestMethodConfig' must be specified"),
            (vec![header("X-A", &[])], "A 'http-header' value must be specified"),
            (vec![header("", &["a"])], "A 'HttpHeaderName' must be specified"),
            (vec![header(&"X".repeat(41), &["a"])], "too long; the limit is '40'"),
            (vec![header("X A", &["a"])], "not a valid header name"),
            (vec![header("Host", &["a"])], "use a 'host-header' condition"),
            (vec![header("X-A", &[&long])], "too long; the limit is '128'"),
            (vec![header("X-A", &["a", "b", "c", "d"])], "too many values; the limit is '3'"),
            (vec![bare("http-header")], "A 'HttpHeaderConfig' must be specified"),
            (vec![query(&[])], "A 'query-string' value must be specified"),
            (vec![query(&[(Some("a"), None)])], "A 'Value' must be specified"),
            (vec![query(&[(Some(&long), Some("a"))])], "too long; the limit is '128'"),
            (vec![query(&[(None, Some("?*?*?*"))])], "at most '5' wildcards"),
            (vec![bare("query-string")], "A 'QueryStringConfig' must be specified"),
            (vec![bare("source-ip")], "A 'SourceIpConfig' must be specified"),
            (vec![legacy("host-header", &[&format!("{}.com", "a".repeat(128))])], "too long; the limit is '128'"),
            (vec![legacy("host-header", &["a.b", "b.c", "c.d", "d.e"])], "too many values; the limit is '3'"),
            (vec![source_ip("10.0.0.1")], "must be in CIDR format"),
            (vec![source_ip("10.0.0.0/33")], "must be in CIDR format"),
        ];
        for (conditions, words) in cases {
            let error = read(Some(conditions.clone())).expect_err(words);
            assert_eq!(error.code, "ValidationError");
            assert!(error.message.contains(words), "{conditions:?}: {}", error.message);
        }
        assert!(read(Some(vec![source_ip("10.0.0.0/8"), methods(&["GET"])])).is_ok());
    }

    #[test]
    fn escaped_wildcards_do_not_count() {
        assert_eq!(unescaped(r"a\*b*c\\?"), 2);
    }
}
