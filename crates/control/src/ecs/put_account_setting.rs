//! PutAccountSetting.

use super::account_settings;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{PutAccountSettingRequest, PutAccountSettingResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: PutAccountSettingRequest) -> Result<PutAccountSettingResponse> {
    let setting = account_settings::put(ctx, input.name.as_deref(), input.value.as_deref())?;
    Ok(PutAccountSettingResponse { setting: Some(setting) })
}
