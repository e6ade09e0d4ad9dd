//! ValidateTemplate.

use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{TemplateParameter, ValidateTemplateInput, ValidateTemplateOutput};

pub fn handle(_ctx: &mut Ctx<'_>, input: ValidateTemplateInput) -> Result<ValidateTemplateOutput> {
    let template = intake::parse(&intake::template_text(input.template_body, input.template_url)?)?;
    let needed = intake::needed(&template);
    let parameter = |(key, p): (&String, &super::template::Parameter)| TemplateParameter {
        parameter_key: Some(key.clone()),
        default_value: p.default.clone(),
        no_echo: Some(p.no_echo),
        description: p.description.clone(),
    };
    Ok(ValidateTemplateOutput {
        parameters: Some(template.parameters.iter().map(parameter).collect()),
        capabilities: show::some(needed.capabilities),
        capabilities_reason: needed.reason,
        description: template.description,
        ..Default::default()
    })
}
