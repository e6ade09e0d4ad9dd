//! GetTemplate: the text as it was given.

use super::change_set::find;
use super::intake;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{GetTemplateInput, GetTemplateOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: GetTemplateInput) -> Result<GetTemplateOutput> {
    let text = match input.change_set_name {
        Some(set) => find(ctx, Some(&set), input.stack_name.as_deref())?.revision.template,
        None => intake::existing(ctx, input.stack_name.as_deref())?.revision.template,
    };
    Ok(GetTemplateOutput {
        template_body: Some(text),
        stages_available: Some(vec!["Original".into(), "Processed".into()]),
    })
}
