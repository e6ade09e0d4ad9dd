//! ListImports: the stacks that use an export.

use super::page::page;
use super::records::{Export, Stack};
use super::world::refused;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ListImportsInput, ListImportsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ListImportsInput) -> Result<ListImportsOutput> {
    let name = input.export_name.unwrap_or_default();
    if ctx.tx.get::<Export>(&name)?.is_none() {
        return Err(refused(format!("Export '{name}' does not exist.")));
    }
    let stacks = ctx.tx.all::<Stack>()?.into_iter();
    let using: Vec<String> =
        stacks.filter(|s| s.deleted_ms.is_none() && s.revision.imports.contains(&name)).map(|s| s.name).collect();
    if using.is_empty() {
        return Err(refused(format!("Export '{name}' is not imported by any stack.")));
    }
    let (imports, next_token) = page(using, input.next_token.as_deref(), 100)?;
    Ok(ListImportsOutput { imports: Some(imports), next_token })
}
