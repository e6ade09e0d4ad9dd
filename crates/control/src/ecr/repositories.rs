//! What the operations on repositories share, and the agreement of store and catalogue.

use super::errors;
use super::records::Repository;
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::Tx;
use quarry_aws::ecr as aws;
use quarry_domain::arn::{Place, resource_part};
use quarry_wire::Timestamp;
use std::collections::BTreeMap;

/// The repository named, in the account's own registry.
pub fn find(ctx: &Ctx<'_>, registry_id: Option<&str>, name: Option<&str>) -> Result<Repository> {
    check_registry(ctx.platform.place(), registry_id)?;
    let name = name.ok_or_else(|| errors::invalid("Invalid parameter at 'repositoryName': it must be specified"))?;
    by_name(ctx.platform.place(), ctx.tx, name)
}

pub fn by_name(place: &Place, tx: &Tx<'_>, name: &str) -> Result<Repository> {
    tx.get(name)?.ok_or_else(|| errors::repository_not_found(place, name))
}

/// The repository of an ARN.
pub fn by_arn(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<Repository> {
    let arn = arn.unwrap_or_default();
    let name = resource_part(arn).strip_prefix("repository/").filter(|_| arn.starts_with("arn:aws:ecr:"));
    let name = name.ok_or_else(|| {
        errors::invalid(format!(
            "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN: {arn}'"
        ))
    })?;
    by_name(ctx.platform.place(), ctx.tx, name)
}

/// There is one registry, the account's.
pub fn check_registry(place: &Place, registry_id: Option<&str>) -> Result<()> {
    match registry_id {
        Some(id) if id != place.account => {
            Err(errors::refuse("RepositoryNotFoundException", format!("The registry with id '{id}' does not exist")))
        }
        _ => Ok(()),
    }
}

pub fn show(platform: &Platform, repository: &Repository) -> aws::Repository {
    let place = platform.place();
    aws::Repository {
        repository_arn: Some(place.arn("ecr", format_args!("repository/{}", repository.name))),
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name.clone()),
        repository_uri: Some(format!("localhost:{}/{}", platform.config.port, repository.name)),
        created_at: Some(Timestamp::from_millis(repository.created_ms)),
        image_tag_mutability: Some(mutability(repository.immutable_tags).into()),
        image_scanning_configuration: Some(aws::ImageScanningConfiguration {
            scan_on_push: Some(repository.scan_on_push),
        }),
        encryption_configuration: Some(aws::EncryptionConfiguration {
            encryption_type: Some("AES256".into()),
            kms_key: None,
        }),
        ..Default::default()
    }
}

pub fn mutability(immutable_tags: bool) -> &'static str {
    if immutable_tags { "IMMUTABLE" } else { "MUTABLE" }
}

/// Whether tags are immutable, from the request's value.
pub fn read_mutability(
    value: Option<&str>,
    filters: Option<Vec<aws::ImageTagMutabilityExclusionFilter>>,
) -> Result<bool> {
    if filters.is_some_and(|filters| !filters.is_empty()) {
        return Err(errors::invalid("Exclusion filters of tag mutability are not supported here"));
    }
    match value {
        None | Some("MUTABLE") => Ok(false),
        Some("IMMUTABLE") => Ok(true),
        Some(other) => Err(errors::invalid(format!(
            "Invalid parameter at 'imageTagMutability' failed to satisfy constraint: '{other}' must be MUTABLE or IMMUTABLE"
        ))),
    }
}

/// The tags of a request.
pub fn read_tags(tags: Option<Vec<aws::Tag>>) -> Result<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        let value = tag.value.unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(errors::refuse("InvalidTagParameterException", format!("The tag '{key}' is not valid")));
        }
        read.insert(key, value);
    }
    check_tags(&read)?;
    Ok(read)
}

pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > 50 {
        return Err(errors::refuse("TooManyTagsException", "A repository can have at most 50 tags"));
    }
    Ok(())
}

/// Makes store and catalogue agree, after a crash between the two: a repository that the catalogue
/// alone has is taken in with its images, and one that the store alone has is made there again.
pub fn agree(platform: &Platform) -> Result<()> {
    let held = platform.catalog.repositories().map_err(|error| errors::from_catalog(platform.place(), error))?;
    platform.store.write(|tx| {
        for name in &held {
            if tx.get::<Repository>(name)?.is_none() {
                tx.put(&Repository {
                    name: name.clone(),
                    created_ms: platform.now_ms(),
                    immutable_tags: false,
                    scan_on_push: false,
                    tags: BTreeMap::new(),
                    lifecycle: None,
                    preview: None,
                    policy: None,
                })?;
            }
        }
        for repository in tx.all::<Repository>()? {
            if !held.contains(&repository.name) {
                platform
                    .catalog
                    .create_repository(&repository.name, repository.immutable_tags)
                    .map_err(|error| errors::from_catalog(platform.place(), error))?;
            }
        }
        Ok(())
    })
}
