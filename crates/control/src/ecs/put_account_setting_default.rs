//! PutAccountSettingDefault. There is one principal, so its setting is the default.

use super::account_settings;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{PutAccountSettingDefaultRequest, PutAccountSettingDefaultResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: PutAccountSettingDefaultRequest) -> Result<PutAccountSettingDefaultResponse> {
    let setting = account_settings::put(ctx, input.name.as_deref(), input.value.as_deref())?;
    Ok(PutAccountSettingDefaultResponse { setting: Some(setting) })
}
