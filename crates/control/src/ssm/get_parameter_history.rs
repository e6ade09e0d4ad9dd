//! `GetParameterHistory`: the versions that are kept, oldest first.

use super::parameters::{key_of, page, plain_name, refuse, value};
use super::records::{Parameter, Version};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{GetParameterHistoryRequest, GetParameterHistoryResult, ParameterHistory};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: GetParameterHistoryRequest) -> Result<GetParameterHistoryResult> {
    let name = plain_name(&input.name.unwrap_or_default());
    let stored: Parameter = ctx.tx.get(&name)?.ok_or_else(|| refuse("ParameterNotFound", ""))?;
    let decrypt = input.with_decryption.unwrap_or(false);
    let numbered: Vec<(String, &Version)> =
        stored.versions.iter().map(|version| (version.number.to_string(), version)).collect();
    let (versions, next_token) =
        page(numbered, |(number, _)| number, input.next_token.as_deref(), input.max_results, 50)?;
    let mut parameters = Vec::new();
    for (_, version) in versions {
        let kind = version.kind.unwrap_or(stored.kind);
        parameters.push(ParameterHistory {
            name: Some(name.clone()),
            r#type: Some(kind.name().into()),
            key_id: key_of(kind),
            value: Some(value(ctx.platform, &stored, version, decrypt)?),
            version: Some(version.number),
            last_modified_date: Some(Timestamp::from_millis(version.modified_ms)),
            last_modified_user: Some(version.modified_by.clone()),
            description: stored.description.clone(),
            allowed_pattern: stored.allowed_pattern.clone(),
            tier: Some(stored.tier.name().into()),
            data_type: Some("text".into()),
            labels: Some(Vec::new()),
            policies: Some(Vec::new()),
        });
    }
    Ok(GetParameterHistoryResult { parameters: Some(parameters), next_token })
}
