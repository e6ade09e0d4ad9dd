//! The one user: the account itself, whose credentials the installation made.

use super::entity::validation;
use crate::api::{Ctx, Result};
use quarry_aws::iam::{GetUserRequest, GetUserResponse, User, error};
use quarry_wire::Timestamp;
use std::time::UNIX_EPOCH;

pub fn get(ctx: &mut Ctx<'_>, input: GetUserRequest) -> Result<GetUserResponse> {
    if let Some(name) = input.user_name {
        return Err(error::no_such_entity_exception(format!("The user with name {name} cannot be found.")));
    }
    if ctx.caller.arn.contains(":assumed-role/") {
        return Err(validation("Must specify userName when calling with non-User credentials"));
    }
    let place = ctx.platform.place();
    Ok(GetUserResponse {
        user: Some(User {
            arn: Some(place.global_arn("iam", "root")),
            user_id: Some(place.account.clone()),
            user_name: Some("root".into()),
            path: Some("/".into()),
            create_date: installed_at(ctx),
            ..Default::default()
        }),
    })
}

/// When the data directory was made, as far as the file system knows.
fn installed_at(ctx: &Ctx<'_>) -> Option<Timestamp> {
    let metadata = std::fs::metadata(&ctx.platform.config.data_dir).ok()?;
    let at = metadata.created().or_else(|_| metadata.modified()).ok()?;
    Some(Timestamp::from_secs(at.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64))
}
