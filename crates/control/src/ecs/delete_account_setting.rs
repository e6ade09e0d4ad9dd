//! DeleteAccountSetting.

use super::account_settings;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeleteAccountSettingRequest, DeleteAccountSettingResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteAccountSettingRequest) -> Result<DeleteAccountSettingResponse> {
    let setting = account_settings::delete(ctx, input.name.as_deref())?;
    Ok(DeleteAccountSettingResponse { setting: Some(setting) })
}
