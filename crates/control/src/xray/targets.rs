//! How many requests each service may sample, and what they report of it: GetSamplingTargets,
//! GetSamplingStatisticSummaries.

use super::{invalid, rules};
use crate::api::{Ctx, Result};
use quarry_aws::xray::{
    GetSamplingStatisticSummariesRequest, GetSamplingStatisticSummariesResult, GetSamplingTargetsRequest,
    GetSamplingTargetsResult, SamplingStatisticSummary, SamplingTargetDocument, UnprocessedStatistics,
};
use quarry_wire::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;

/// Seconds after which a service asks again.
const INTERVAL: i32 = 10;
/// A service that did not ask for so long has no share of a reservoir any more, in ms.
const FORGOTTEN_MS: i64 = 2_000 * INTERVAL as i64;
/// Summaries that are kept, and ms for which they are.
const MAX_KEPT: usize = 10_000;
const KEPT_MS: i64 = 3_600_000;
/// Summaries on a page.
const PAGE: usize = 100;

/// What those who sample have reported; it is reported again after a restart.
#[derive(Default)]
pub struct Statistics {
    /// By rule and client: when it asked last, in ms.
    clients: BTreeMap<(String, String), i64>,
    kept: VecDeque<Kept>,
}

struct Kept {
    rule: String,
    at_ms: i64,
    requests: i32,
    sampled: i32,
    borrowed: i32,
}

impl Statistics {
    /// The client's share of so many a second.
    fn share(&mut self, rule: &str, client: &str, reservoir: u32, now: i64) -> u32 {
        self.clients.insert((rule.to_owned(), client.to_owned()), now);
        self.clients.retain(|_, asked| now - *asked < FORGOTTEN_MS);
        let of_rule: Vec<&str> =
            self.clients.keys().filter(|(name, _)| name == rule).map(|(_, client)| client.as_str()).collect();
        let (count, place) = (of_rule.len() as u32, of_rule.iter().position(|known| *known == client));
        // What cannot be divided goes to those that come first.
        reservoir / count + u32::from(place.is_some_and(|place| (place as u32) < reservoir % count))
    }
}

pub fn targets(ctx: &mut Ctx<'_>, input: GetSamplingTargetsRequest) -> Result<GetSamplingTargetsResult> {
    if input.sampling_boost_statistics_documents.is_some_and(|given| !given.is_empty()) {
        return Err(invalid("SamplingBoostStatisticsDocuments are not supported here."));
    }
    let now = ctx.platform.now_ms();
    let known = rules::all(ctx.tx, ctx.platform)?;
    let mut statistics = ctx.platform.traces.statistics.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut targets, mut unknown) = (Vec::new(), Vec::new());
    for document in input.sampling_statistics_documents.unwrap_or_default() {
        let name = document.rule_name.unwrap_or_default();
        let Some(record) = known.iter().find(|record| record.rule.name == name) else {
            unknown.push(UnprocessedStatistics {
                rule_name: Some(name),
                error_code: Some("404".to_owned()),
                message: Some("Sampling rule does not exist.".to_owned()),
            });
            continue;
        };
        let share = statistics.share(&name, &document.client_id.unwrap_or_default(), record.rule.reservoir, now);
        statistics.kept.push_back(Kept {
            rule: name.clone(),
            at_ms: document.timestamp.map_or(now, Timestamp::millis),
            requests: document.request_count.unwrap_or_default(),
            sampled: document.sampled_count.unwrap_or_default(),
            borrowed: document.borrow_count.unwrap_or_default(),
        });
        targets.push(SamplingTargetDocument {
            rule_name: Some(name),
            fixed_rate: Some(record.rule.fixed_rate),
            reservoir_quota: i32::try_from(share).ok().or(Some(i32::MAX)),
            reservoir_quota_ttl: Some(Timestamp::from_millis(now + FORGOTTEN_MS)),
            interval: Some(INTERVAL),
            sampling_boost: None,
        });
    }
    while statistics.kept.len() > MAX_KEPT {
        statistics.kept.pop_front();
    }
    Ok(GetSamplingTargetsResult {
        sampling_target_documents: Some(targets),
        last_rule_modification: Some(Timestamp::from_millis(rules::modified(ctx.tx)?)),
        unprocessed_statistics: Some(unknown),
        unprocessed_boost_statistics: None,
    })
}

pub fn summaries(
    ctx: &mut Ctx<'_>,
    input: GetSamplingStatisticSummariesRequest,
) -> Result<GetSamplingStatisticSummariesResult> {
    let after = ctx.platform.now_ms() - KEPT_MS;
    let statistics = ctx.platform.traces.statistics.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sums: BTreeMap<(&str, i64), (i32, i32, i32)> = BTreeMap::new();
    for kept in statistics.kept.iter().filter(|kept| kept.at_ms >= after) {
        let sum = sums.entry((&kept.rule, kept.at_ms / 1000)).or_default();
        sum.0 = sum.0.saturating_add(kept.requests);
        sum.1 = sum.1.saturating_add(kept.sampled);
        sum.2 = sum.2.saturating_add(kept.borrowed);
    }
    let shown = sums.into_iter().map(|((rule, at), (requests, sampled, borrowed))| SamplingStatisticSummary {
        rule_name: Some(rule.to_owned()),
        timestamp: Some(Timestamp::from_secs(at)),
        request_count: Some(requests),
        sampled_count: Some(sampled),
        borrow_count: Some(borrowed),
    });
    let token = input.next_token.as_deref().filter(|token| !token.is_empty());
    let page = crate::page::from(shown.collect(), token, PAGE).ok_or_else(|| invalid("Invalid NextToken."))?;
    Ok(GetSamplingStatisticSummariesResult { sampling_statistic_summaries: Some(page.0), next_token: page.1 })
}
