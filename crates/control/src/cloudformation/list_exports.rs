//! ListExports.

use super::page::page;
use super::{dynamic, records};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{Export, ListExportsInput, ListExportsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ListExportsInput) -> Result<ListExportsOutput> {
    let mut exports = ctx.tx.all::<records::Export>()?;
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    let (exports, next_token) = page(exports, input.next_token.as_deref(), 100)?;
    let show = |export: records::Export| -> Result<Export> {
        Ok(Export {
            exporting_stack_id: Some(export.stack_id),
            value: Some(dynamic::opened(ctx.platform, &export.value)?),
            name: Some(export.name),
        })
    };
    Ok(ListExportsOutput { exports: Some(exports.into_iter().map(show).collect::<Result<_>>()?), next_token })
}
