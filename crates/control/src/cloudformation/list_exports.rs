//! ListExports.

use super::page::page;
use super::records;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{Export, ListExportsInput, ListExportsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ListExportsInput) -> Result<ListExportsOutput> {
    let mut exports = ctx.tx.all::<records::Export>()?;
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    let (exports, next_token) = page(exports, input.next_token.as_deref(), 100)?;
    let show = |export: records::Export| Export {
        exporting_stack_id: Some(export.stack_id),
        name: Some(export.name),
        value: Some(export.value),
    };
    Ok(ListExportsOutput { exports: Some(exports.into_iter().map(show).collect()), next_token })
}
