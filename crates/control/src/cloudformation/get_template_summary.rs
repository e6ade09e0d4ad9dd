//! GetTemplateSummary: what a template asks for and makes.

use super::template::Template;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{GetTemplateSummaryInput, GetTemplateSummaryOutput};
use std::collections::BTreeSet;

pub fn handle(ctx: &mut Ctx<'_>, input: GetTemplateSummaryInput) -> Result<GetTemplateSummaryOutput> {
    let template: Template = match input.stack_name {
        Some(name) => intake::parse(&intake::existing(ctx, Some(&name))?.revision.template)?,
        None => intake::parse(&intake::template_text(input.template_body, input.template_url)?)?,
    };
    let needed = intake::needed(&template);
    let types: BTreeSet<String> = template.resources.values().map(|r| r.type_name.clone()).collect();
    Ok(GetTemplateSummaryOutput {
        parameters: Some(show::declared(&template)),
        description: template.description.clone(),
        capabilities: show::some(needed.capabilities),
        capabilities_reason: needed.reason,
        resource_types: Some(types.into_iter().collect()),
        version: Some("2010-09-09".into()),
        metadata: template.metadata.map(|metadata| metadata.to_string()),
        ..Default::default()
    })
}
