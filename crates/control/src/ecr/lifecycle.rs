//! What the operations on lifecycle policies share, and the reconciler that expires images.

use super::records::{Preview, PreviewedImage, Repository};
use super::{errors, images};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::StoreError;
use crate::wake::Woken;
use quarry_domain::expiry::Policy;
use quarry_domain::image::CatalogError;
use quarry_wire::ServiceError;
use std::time::Duration;

/// How often policies are evaluated; AWS promises a day.
const EVERY: Duration = Duration::from_secs(600);

/// An unpacked layer that no task has is kept this long for the next one that wants it.
const UNPACKED_IDLE: Duration = Duration::from_secs(24 * 3600);

/// Removes what nobody needs any more: pushed layers of no image, and unpacked ones of no task.
fn collect(platform: &Platform, idle: Duration) {
    match platform.catalog.collect() {
        Ok(collected) if collected.blobs > 0 => {
            tracing::info!(collected.blobs, collected.bytes, "layers of no image were removed");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "layers of no image could not be removed; it is tried again"),
    }
    match platform.runtime.collect(idle) {
        Ok(layers) if layers > 0 => tracing::info!(layers, "unpacked layers of no task were removed"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "unpacked layers could not be removed; it is tried again"),
    }
}

/// Reads a policy's text, with the API's error.
pub fn read(text: &str) -> Result<Policy> {
    Policy::parse(text).map_err(|error| {
        errors::invalid(format!(
            "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: {error}'"
        ))
    })
}

pub fn none(ctx: &Ctx<'_>, repository: &Repository) -> ServiceError {
    let id = &ctx.platform.place().account;
    let message = format!(
        "Lifecycle policy does not exist for the repository with name '{}' in the registry with id '{id}'",
        repository.name
    );
    errors::refuse("LifecyclePolicyNotFoundException", message)
}

/// What a policy would expire now.
pub fn preview(ctx: &Ctx<'_>, repository: &Repository, text: String) -> Result<Preview> {
    let policy = read(&text)?;
    let known = images::list(ctx, repository)?;
    let expired = policy.expired(&known, ctx.platform.now_ms());
    let images = expired.into_iter().filter_map(|one| {
        let image = known.iter().find(|image| image.digest == one.digest)?;
        Some(PreviewedImage {
            digest: one.digest,
            tags: image.tags.clone(),
            pushed_at_ms: image.pushed_at_ms,
            rule: one.rule,
        })
    });
    Ok(Preview { images: images.collect(), text })
}

/// Expires images until the store's wake is stopped. Blocks.
pub fn run(platform: &Platform) {
    loop {
        if let Err(error) = pass(platform) {
            tracing::warn!(%error, "lifecycle policies could not be evaluated; it is tried again");
        }
        collect(platform, UNPACKED_IDLE);
        let mut reached = u64::MAX;
        if platform.store.changed.wait(&mut reached, EVERY) == Woken::Stop {
            return;
        }
    }
}

/// One pass over all repositories that have a policy.
pub fn pass(platform: &Platform) -> std::result::Result<(), StoreError> {
    for repository in platform.store.read(|tx| tx.all::<Repository>())? {
        let Some(lifecycle) = &repository.lifecycle else { continue };
        let Ok(policy) = Policy::parse(&lifecycle.text) else { continue };
        let now = platform.now_ms();
        let name = &repository.name;
        let known = match platform.catalog.images(name) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(repository = %name, %error, "its images cannot be listed");
                continue;
            }
        };
        for expired in policy.expired(&known, now) {
            match platform.catalog.delete_image(name, &expired.digest) {
                Ok(()) => {
                    tracing::info!(repository = %name, digest = %expired.digest, rule = expired.rule, "an image expired");
                }
                // A manifest list still names it, or somebody was faster.
                Err(CatalogError::Invalid(_) | CatalogError::NoImage(_)) => {}
                Err(error) => tracing::warn!(repository = %name, %error, "an expired image cannot be deleted"),
            }
        }
        platform.store.write(|tx| -> std::result::Result<(), StoreError> {
            // Only where the policy is still the one that was evaluated.
            if let Some(mut current) = tx.get::<Repository>(name)?
                && let Some(policy) = current.lifecycle.as_mut().filter(|policy| policy.text == lifecycle.text)
            {
                policy.evaluated_ms = Some(now);
                tx.put(&current)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
