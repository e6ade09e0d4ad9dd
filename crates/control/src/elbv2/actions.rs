//! Rule actions: read from a request, checked, and shown as AWS shows them.

use super::errors;
use super::find::check;
use super::limits;
use super::records::{LoadBalancer, RuleAction, TargetGroup};
use super::uses;
use crate::api::Result;
use crate::store::Tx;
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::{Action, FixedResponse, Forward, Redirect, WeightedGroup};
use std::collections::BTreeSet;

/// The one action of a rule of this load balancer. `member` names the request's list in errors.
pub fn read(
    tx: &Tx<'_>,
    load_balancer: &LoadBalancer,
    actions: Option<Vec<aws::Action>>,
    member: &str,
) -> Result<RuleAction> {
    let mut actions = actions.unwrap_or_default();
    // Where one action is the answer and one before it authenticates, the service names the latter.
    for action in &actions {
        if let Some(kind @ ("authenticate-oidc" | "authenticate-cognito" | "jwt-validation")) = action.r#type.as_deref()
        {
            return Err(errors::invalid_load_balancer_action(format!(
                "Actions of type '{kind}' are only supported on HTTPS listeners"
            )));
        }
    }
    if actions.len() > 1 {
        return Err(errors::too_many_actions(
            "A rule must have exactly one action of type forward, redirect or fixed-response",
        ));
    }
    let Some(action) = actions.pop() else {
        return Err(errors::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        )));
    };
    if let Some(order) = action.order {
        errors::in_range(order, &format!("{member}.1.member.order"), 1, 50_000)?;
    }
    let order = action.order;
    let mut stickiness_duration = None;
    let read = match action.r#type.as_deref() {
        Some("forward") => {
            let (forward, duration) = read_forward(&action)?;
            stickiness_duration = duration;
            check_groups(tx, load_balancer, &forward)?;
            Action::Forward(forward)
        }
        Some("redirect") => Action::Redirect(read_redirect(action.redirect_config)?),
        Some("fixed-response") => Action::FixedResponse(read_fixed_response(action.fixed_response_config, member)?),
        other => {
            return Err(errors::constraint(
                other.unwrap_or("null"),
                &format!("{member}.1.member.type"),
                "satisfy enum value set: [forward, redirect, fixed-response]",
            ));
        }
    };
    Ok(RuleAction { action: read, order, stickiness_duration })
}

pub fn show(action: &RuleAction) -> aws::Action {
    let mut shown = aws::Action { order: action.order, ..Default::default() };
    match &action.action {
        Action::Forward(forward) => {
            shown.r#type = Some("forward".into());
            if let [group] = forward.groups.as_slice() {
                shown.target_group_arn = Some(group.target_group_arn.clone());
            }
            let groups = forward.groups.iter().map(|group| aws::TargetGroupTuple {
                target_group_arn: Some(group.target_group_arn.clone()),
                weight: Some(group.weight as i32),
            });
            shown.forward_config = Some(aws::ForwardActionConfig {
                target_groups: Some(groups.collect()),
                target_group_stickiness_config: Some(aws::TargetGroupStickinessConfig {
                    enabled: Some(forward.stickiness_seconds.is_some()),
                    duration_seconds: action.stickiness_duration,
                }),
            });
        }
        Action::Redirect(redirect) => {
            shown.r#type = Some("redirect".into());
            shown.redirect_config = Some(aws::RedirectActionConfig {
                protocol: Some(redirect.protocol.clone()),
                host: Some(redirect.host.clone()),
                port: Some(redirect.port.clone()),
                path: Some(redirect.path.clone()),
                query: Some(redirect.query.clone()),
                status_code: Some(format!("HTTP_{}", redirect.status)),
            });
        }
        Action::FixedResponse(fixed) => {
            shown.r#type = Some("fixed-response".into());
            shown.fixed_response_config = Some(aws::FixedResponseActionConfig {
                status_code: Some(fixed.status.to_string()),
                content_type: fixed.content_type.clone(),
                message_body: fixed.body.clone(),
            });
        }
    }
    shown
}

fn read_forward(action: &aws::Action) -> Result<(Forward, Option<i32>)> {
    let config = action.forward_config.clone().unwrap_or_default();
    let tuples = config.target_groups.unwrap_or_default();
    let arn = action.target_group_arn.as_deref();
    let mut groups = Vec::new();
    for tuple in &tuples {
        let Some(arn) = &tuple.target_group_arn else {
            return Err(errors::validation("A target group ARN must be specified"));
        };
        check(arn, "targetgroup/", "target group")?;
        let weight = tuple.weight.unwrap_or(1);
        if !(0..=999).contains(&weight) {
            return Err(errors::validation(format!(
                "The target group weight '{weight}' must be between '0' and '999' inclusive"
            )));
        }
        groups.push(WeightedGroup { target_group_arn: arn.clone(), weight: weight.unsigned_abs() });
    }
    match (arn, groups.as_slice()) {
        (None, []) => return Err(errors::validation("A target group ARN must be specified")),
        (Some(arn), []) => {
            check(arn, "targetgroup/", "target group")?;
            groups.push(WeightedGroup { target_group_arn: arn.to_owned(), weight: 1 });
        }
        (Some(arn), [group]) if group.target_group_arn == arn => {}
        (Some(_), _) => {
            return Err(errors::validation(
                "You cannot specify both a target group ARN and a forward configuration with other target groups",
            ));
        }
        (None, _) => {}
    }
    if groups.len() > limits::TARGET_GROUPS_PER_ACTION {
        return Err(errors::validation(format!(
            "A forward action can have at most '{}' target groups",
            limits::TARGET_GROUPS_PER_ACTION
        )));
    }
    let distinct: BTreeSet<_> = groups.iter().map(|group| &group.target_group_arn).collect();
    if distinct.len() < groups.len() {
        return Err(errors::validation("A target group can be specified only once in a forward action"));
    }
    let stickiness = config.target_group_stickiness_config.unwrap_or_default();
    let duration = stickiness.duration_seconds;
    if let Some(seconds) = duration
        && !(1..=604_800).contains(&seconds)
    {
        return Err(errors::validation(format!(
            "Target group stickiness duration '{seconds}' must be between '1' and '604800' seconds inclusive"
        )));
    }
    let stickiness_seconds = match (stickiness.enabled.unwrap_or(false), duration) {
        (false, _) => None,
        (true, Some(seconds)) => Some(seconds.unsigned_abs()),
        (true, None) => {
            return Err(errors::validation(
                "You must specify a duration in seconds when target group stickiness is enabled",
            ));
        }
    };
    Ok((Forward { groups, stickiness_seconds }, duration))
}

/// The groups exist, are in the load balancer's VPC, and no other load balancer has them.
fn check_groups(tx: &Tx<'_>, load_balancer: &LoadBalancer, forward: &Forward) -> Result<()> {
    let mut own = uses::of_balancer(tx, &load_balancer.arn)?;
    for WeightedGroup { target_group_arn: arn, .. } in &forward.groups {
        let Some(group) = tx.get::<TargetGroup>(arn)? else {
            return Err(errors::target_group_not_found(format!("Target group '{arn}' not found")));
        };
        if group.vpc_id != load_balancer.vpc_id {
            return Err(errors::invalid_configuration(format!(
                "The following target groups are in a different VPC than load balancer '{}': {arn}",
                load_balancer.arn
            )));
        }
        if uses::users(tx, arn)?.iter().any(|other| *other != load_balancer.arn) {
            return Err(errors::target_group_association_limit(format!(
                "The following target groups cannot be associated with more than one load balancer: {arn}"
            )));
        }
        own.insert(arn.clone());
    }
    if own.len() > limits::TARGET_GROUPS_PER_LOAD_BALANCER {
        return Err(errors::too_many_unique_target_groups(
            "You've reached the limit on the number of unique target groups per load balancer across all listeners",
        ));
    }
    Ok(())
}

fn read_redirect(config: Option<aws::RedirectActionConfig>) -> Result<Redirect> {
    let config = config
        .ok_or_else(|| errors::validation("A 'RedirectConfig' must be specified for actions of type 'redirect'"))?;
    let status = match config.status_code.as_deref() {
        Some("HTTP_301") => 301,
        Some("HTTP_302") => 302,
        other => {
            return Err(errors::constraint(
                other.unwrap_or("null"),
                "actions.1.member.redirectConfig.statusCode",
                "satisfy enum value set: [HTTP_301, HTTP_302]",
            ));
        }
    };
    let redirect = Redirect {
        protocol: config.protocol.unwrap_or_else(|| "#{protocol}".into()),
        host: config.host.unwrap_or_else(|| "#{host}".into()),
        port: config.port.unwrap_or_else(|| "#{port}".into()),
        path: config.path.unwrap_or_else(|| "/#{path}".into()),
        query: config.query.unwrap_or_else(|| "#{query}".into()),
        status,
    };
    if !matches!(redirect.protocol.as_str(), "HTTP" | "HTTPS" | "#{protocol}") {
        return Err(errors::constraint(
            &redirect.protocol,
            "actions.1.member.redirectConfig.protocol",
            "satisfy regular expression pattern: ^(HTTPS?|#\\{protocol\\})$",
        ));
    }
    if redirect.port != "#{port}" && !redirect.port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(errors::validation(format!(
            "Redirect port '{}' must be a value from 1 to 65535 or #{{port}}",
            redirect.port
        )));
    }
    if !redirect.path.starts_with('/') {
        return Err(errors::validation("Redirect path must start with a '/'"));
    }
    for (what, value, shortest) in
        [("host", &redirect.host, 1), ("path", &redirect.path, 1), ("query", &redirect.query, 0)]
    {
        if value.len() < shortest || value.len() > 128 {
            return Err(errors::validation(format!("Redirect {what} must have from {shortest} to 128 characters")));
        }
        if value.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err(errors::validation(format!("Redirect {what} contains characters that are not valid")));
        }
        check_keywords(what, value)?;
    }
    let same = |value: &str, keyword: &str| value == keyword;
    if same(&redirect.protocol, "#{protocol}")
        && same(&redirect.host, "#{host}")
        && same(&redirect.port, "#{port}")
        && (redirect.path == "/#{path}" || redirect.path == "#{path}")
    {
        return Err(errors::invalid_load_balancer_action(
            "The redirect configuration is not valid because it creates a loop.",
        ));
    }
    Ok(redirect)
}

fn check_keywords(what: &str, value: &str) -> Result<()> {
    let mut rest = value;
    while let Some(at) = rest.find("#{") {
        rest = &rest[at + 2..];
        let keyword = rest.split('}').next().unwrap_or_default();
        if !matches!(keyword, "protocol" | "host" | "port" | "path" | "query") {
            return Err(errors::validation(format!("Redirect {what} has the unknown keyword '#{{{keyword}}}'")));
        }
    }
    Ok(())
}

fn read_fixed_response(config: Option<aws::FixedResponseActionConfig>, member: &str) -> Result<FixedResponse> {
    let config = config.ok_or_else(|| {
        errors::validation("A 'FixedResponseConfig' must be specified for actions of type 'fixed-response'")
    })?;
    let text = config.status_code.unwrap_or_default();
    let status = match text.as_bytes() {
        [b'2' | b'4' | b'5', b, c] if b.is_ascii_digit() && c.is_ascii_digit() => text.parse::<u16>().unwrap_or(200),
        _ => {
            return Err(errors::constraint(
                &text,
                &format!("{member}.1.member.fixedResponseConfig.statusCode"),
                r"satisfy regular expression pattern: ^(2|4|5)\d\d$",
            ));
        }
    };
    let content_type = config.content_type.filter(|text| !text.is_empty());
    if let Some(content_type) = &content_type
        && !["text/plain", "text/css", "text/html", "application/javascript", "application/json"]
            .contains(&content_type.as_str())
    {
        return Err(errors::validation(
            "The ContentType must be one of:'text/html', 'application/json', 'application/javascript', 'text/css', 'text/plain'",
        ));
    }
    if config.message_body.as_ref().is_some_and(|body| body.len() > 1024) {
        return Err(errors::validation("The message body of a fixed response can have at most 1024 characters"));
    }
    Ok(FixedResponse { status, content_type, body: config.message_body })
}
