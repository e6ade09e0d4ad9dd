//! The places of a service's rules among those of the load balancer.

use crate::copilot::cloud::{output, parameter};
use anyhow::{Result, bail};
use quarry_aws::cloudformation::Stack;
use quarry_aws::elbv2::op::DescribeRules;
use quarry_aws::elbv2::{DescribeRulesInput, Rule as Seen};
use quarry_client::Client;
use quarry_deploy_kit::manifest::{Http, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// Rules that take everything come after all others.
const LAST: u32 = 48_000;
const MOST: u32 = 50_000;

/// A rule for each parameter `RulePriority…`: the place it has, or the first that is free on all listeners.
/// Also what stands before a new rule and takes requests from it.
pub async fn places(
    aws: &Client,
    environment: &Stack,
    service: Option<&Stack>,
    http: &Http,
) -> Result<(BTreeMap<String, String>, Vec<String>)> {
    let mut seen = Vec::new();
    for listener in ["HTTPListenerArn", "HTTPSListenerArn"] {
        if let Some(arn) = output(environment, listener) {
            let input = DescribeRulesInput { listener_arn: Some(arn), ..Default::default() };
            let pages = aws.paginate::<DescribeRules>(input).await?;
            seen.extend(pages.into_iter().flat_map(|page| page.rules.unwrap_or_default()));
        }
    }
    let mut taken: BTreeSet<u32> = seen.iter().filter_map(|rule| rule.priority.as_ref()?.parse().ok()).collect();
    let (mut places, mut hints) = (BTreeMap::new(), Vec::new());
    for (i, rule) in http.rules.iter().enumerate() {
        let name = format!("RulePriority{}", if i == 0 { String::new() } else { i.to_string() });
        let there = service.and_then(|stack| parameter(stack, &name)).and_then(|place| place.parse().ok());
        // A rule that becomes one for everything moves to the end, and back.
        let fits = |place: &u32| (*place >= LAST) == rule.path.is_empty();
        let place = match there.filter(fits) {
            Some(place) => place,
            None => {
                let mut range = if rule.path.is_empty() { LAST..=MOST } else { 1..=LAST - 1 };
                let Some(free) = range.find(|place| !taken.contains(place)) else {
                    bail!("the load balancer has no room for another rule")
                };
                hints.extend(shadow(&seen, free, rule));
                free
            }
        };
        taken.insert(place);
        places.insert(name, place.to_string());
    }
    Ok((places, hints))
}

/// A rule before this place whose path takes the new rule's requests.
fn shadow(seen: &[Seen], place: u32, rule: &Rule) -> Option<String> {
    let path = format!("/{}", rule.path);
    let before = seen.iter().filter(|other| {
        let priority = other.priority.as_ref().and_then(|p| p.parse::<u32>().ok());
        priority.is_some_and(|priority| priority < place)
    });
    for other in before {
        let conditions = other.conditions.as_deref().unwrap_or_default();
        // With another condition it may take only some of them.
        let [only] = conditions else { continue };
        let values = only.path_pattern_config.as_ref().and_then(|config| config.values.as_ref());
        for pattern in values.into_iter().flatten() {
            let takes = pattern.strip_suffix("/*").is_some_and(|start| path.starts_with(&format!("{start}/")));
            if takes {
                let priority = other.priority.as_deref().unwrap_or_default();
                return Some(format!(
                    "requests to {path} go to the rule {priority} for {pattern} first: give the other service the path \
                     '/', or change the order with `aws elbv2 set-rule-priorities`"
                ));
            }
        }
    }
    None
}
