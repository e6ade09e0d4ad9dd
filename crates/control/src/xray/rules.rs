//! Sampling rules.

use super::records::{Modified, Rule};
use super::{invalid, named, tags};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_aws::xray::{
    CreateSamplingRuleRequest, CreateSamplingRuleResult, DeleteSamplingRuleRequest, DeleteSamplingRuleResult,
    GetSamplingRulesRequest, GetSamplingRulesResult, UpdateSamplingRuleRequest, UpdateSamplingRuleResult, error,
};
use quarry_domain::trace::sampling::{DEFAULT, SamplingRule};
use std::collections::BTreeMap;

/// Rules besides the default one, as X-Ray has it for an account and region.
const MAX_RULES: usize = 25;
/// Rules on a page.
const PAGE: usize = 100;

/// The rules by which load balancers sample.
pub fn sampling(tx: &Tx<'_>) -> Result<Vec<SamplingRule>, StoreError> {
    let mut rules: Vec<SamplingRule> = tx.all::<Rule>()?.into_iter().map(|record| record.rule).collect();
    if !rules.iter().any(|rule| rule.name == DEFAULT) {
        rules.push(SamplingRule::default());
    }
    Ok(rules)
}

/// All rules by priority; the default one, changed or not, among them.
pub fn all(tx: &Tx<'_>, platform: &Platform) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = tx.all()?;
    if !rules.iter().any(|record| record.rule.name == DEFAULT) {
        rules.push(default(platform));
    }
    rules.sort_by(|a, b| (a.rule.priority, &a.rule.name).cmp(&(b.rule.priority, &b.rule.name)));
    Ok(rules)
}

/// When rules were changed last, in ms.
pub fn modified(tx: &Tx<'_>) -> Result<i64> {
    Ok(tx.get::<Modified>("")?.map_or(0, |modified| modified.at_ms))
}

pub fn find(tx: &Tx<'_>, platform: &Platform, name: &str) -> Result<Rule> {
    match tx.get::<Rule>(name)? {
        Some(rule) => Ok(rule),
        None if name == DEFAULT => Ok(default(platform)),
        None => Err(invalid("Sampling rule does not exist.")),
    }
}

fn default(platform: &Platform) -> Rule {
    Rule {
        rule: SamplingRule::default(),
        arn: arn(platform, DEFAULT),
        attributes: BTreeMap::new(),
        created_ms: 0,
        modified_ms: 0,
        tags: BTreeMap::new(),
    }
}

fn arn(platform: &Platform, name: &str) -> String {
    platform.place().arn("xray", format_args!("sampling-rule/{name}"))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateSamplingRuleRequest) -> Result<CreateSamplingRuleResult> {
    let given = input.sampling_rule.unwrap_or_default();
    let name = match (&given.rule_name, &given.rule_arn) {
        (None, Some(_)) => return Err(invalid("RuleName must be specified.")),
        (name, _) => {
            name.clone().filter(|name| !name.is_empty()).ok_or_else(|| invalid("RuleName must be specified."))?
        }
    };
    if given.sampling_rate_boost.is_some() {
        return Err(invalid("SamplingRateBoost is not supported here."));
    }
    let rules: Vec<Rule> = ctx.tx.all()?;
    if name == DEFAULT || rules.iter().any(|record| record.rule.name == name) {
        return Err(invalid("Rule with the same name already exists."));
    }
    if rules.iter().filter(|record| record.rule.name != DEFAULT).count() >= MAX_RULES {
        return Err(error::rule_limit_exceeded_exception("Max number of sampling rules reached."));
    }
    let now = ctx.platform.now_ms();
    let attributes = given.attributes.unwrap_or_default();
    let rule = Rule {
        arn: arn(ctx.platform, &name),
        rule: SamplingRule {
            name,
            priority: given.priority.unwrap_or_default(),
            fixed_rate: rate(given.fixed_rate)?,
            reservoir: u32::try_from(given.reservoir_size.unwrap_or_default()).unwrap_or_default(),
            service_name: given.service_name.unwrap_or_default(),
            service_type: given.service_type.unwrap_or_default(),
            host: given.host.unwrap_or_default(),
            method: given.http_method.unwrap_or_default(),
            path: given.url_path.unwrap_or_default(),
            resource_arn: given.resource_arn.unwrap_or_default(),
            has_attributes: !attributes.is_empty(),
        },
        attributes,
        created_ms: now,
        modified_ms: now,
        tags: tags::checked(BTreeMap::new(), input.tags)?,
    };
    put(ctx, &rule)?;
    Ok(CreateSamplingRuleResult { sampling_rule_record: Some(rule.shown()) })
}

pub fn update(ctx: &mut Ctx<'_>, input: UpdateSamplingRuleRequest) -> Result<UpdateSamplingRuleResult> {
    let given = input.sampling_rule_update.unwrap_or_default();
    let name = named(given.rule_name.as_deref(), given.rule_arn.as_deref(), "sampling-rule")?.to_owned();
    if given.sampling_rate_boost.is_some() {
        return Err(invalid("SamplingRateBoost is not supported here."));
    }
    let mut record = find(ctx.tx, ctx.platform, &name)?;
    let patterns = [
        &given.service_name,
        &given.service_type,
        &given.host,
        &given.http_method,
        &given.url_path,
        &given.resource_arn,
    ];
    if name == DEFAULT
        && (given.priority.is_some() || given.attributes.is_some() || patterns.iter().any(|p| p.is_some()))
    {
        return Err(invalid("Only FixedRate and ReservoirSize of the default rule can be changed."));
    }
    let rule = &mut record.rule;
    rule.fixed_rate = given.fixed_rate.map_or(Ok(rule.fixed_rate), |given| rate(Some(given)))?;
    rule.priority = given.priority.unwrap_or(rule.priority);
    rule.reservoir = given.reservoir_size.and_then(|size| u32::try_from(size).ok()).unwrap_or(rule.reservoir);
    for (value, given) in [
        (&mut rule.service_name, given.service_name),
        (&mut rule.service_type, given.service_type),
        (&mut rule.host, given.host),
        (&mut rule.method, given.http_method),
        (&mut rule.path, given.url_path),
        (&mut rule.resource_arn, given.resource_arn),
    ] {
        *value = given.unwrap_or_else(|| value.clone());
    }
    record.attributes = given.attributes.unwrap_or(record.attributes);
    record.rule.has_attributes = !record.attributes.is_empty();
    record.modified_ms = ctx.platform.now_ms();
    put(ctx, &record)?;
    Ok(UpdateSamplingRuleResult { sampling_rule_record: Some(record.shown()) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteSamplingRuleRequest) -> Result<DeleteSamplingRuleResult> {
    let name = named(input.rule_name.as_deref(), input.rule_arn.as_deref(), "sampling-rule")?.to_owned();
    if name == DEFAULT {
        return Err(invalid("The default rule cannot be deleted."));
    }
    let record = find(ctx.tx, ctx.platform, &name)?;
    ctx.tx.delete::<Rule>(&name)?;
    ctx.tx.put(&Modified { at_ms: ctx.platform.now_ms() })?;
    Ok(DeleteSamplingRuleResult { sampling_rule_record: Some(record.shown()) })
}

pub fn list(ctx: &mut Ctx<'_>, input: GetSamplingRulesRequest) -> Result<GetSamplingRulesResult> {
    let token = input.next_token.as_deref().filter(|token| !token.is_empty());
    let rules = all(ctx.tx, ctx.platform)?;
    let page = crate::page::from(rules, token, PAGE).ok_or_else(|| invalid("Invalid NextToken."))?;
    Ok(GetSamplingRulesResult {
        sampling_rule_records: Some(page.0.iter().map(Rule::shown).collect()),
        next_token: page.1,
    })
}

fn put(ctx: &Ctx<'_>, rule: &Rule) -> Result<()> {
    ctx.tx.put(rule)?;
    Ok(ctx.tx.put(&Modified { at_ms: rule.modified_ms })?)
}

fn rate(given: Option<f64>) -> Result<f64> {
    let rate = given.unwrap_or_default();
    if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(invalid("FixedRate must be between 0 and 1.")) }
}
