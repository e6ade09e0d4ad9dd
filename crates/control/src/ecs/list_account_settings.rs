//! ListAccountSettings.

use super::account_settings;
use super::page::page;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListAccountSettingsRequest, ListAccountSettingsResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListAccountSettingsRequest) -> Result<ListAccountSettingsResponse> {
    let effective = input.effective_settings == Some(true);
    let mut settings = account_settings::list(ctx, input.name.as_deref(), effective)?;
    settings.retain(|setting| input.value.is_none() || setting.value == input.value);
    let key = |setting: &quarry_aws::ecs::Setting| setting.name.clone().unwrap_or_default();
    let (settings, next_token) = page(settings, key, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListAccountSettingsResponse { settings: Some(settings), next_token })
}
