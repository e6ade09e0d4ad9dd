//! `TagResource` and `UntagResource`.

use super::find::{self, add_tags};
use crate::api::{Ctx, Result};
use quarry_aws::secretsmanager::{TagResourceRequest, UntagResourceRequest};
use quarry_wire::Empty;

pub fn tag(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<Empty> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    add_tags(&mut secret.tags, input.tags)?;
    ctx.tx.put(&secret)?;
    Ok(Empty::default())
}

/// Keys that are not there are no error.
pub fn untag(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<Empty> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    for key in input.tag_keys.unwrap_or_default() {
        secret.tags.remove(&key);
    }
    ctx.tx.put(&secret)?;
    Ok(Empty::default())
}
