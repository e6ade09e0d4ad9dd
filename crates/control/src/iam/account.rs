//! The account.

use super::entity::page;
use crate::api::{Ctx, Result};
use quarry_aws::iam::{ListAccountAliasesRequest, ListAccountAliasesResponse};

/// The account has no alias, and none can be given.
pub fn list_aliases(_ctx: &mut Ctx<'_>, input: ListAccountAliasesRequest) -> Result<ListAccountAliasesResponse> {
    let page = page(Vec::new(), String::clone, input.marker, input.max_items)?;
    Ok(ListAccountAliasesResponse {
        account_aliases: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}
