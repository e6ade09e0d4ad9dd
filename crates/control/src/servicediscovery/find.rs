//! From the ids and ARNs of requests to records, with Cloud Map's errors for what is not there; new ids;
//! pages.

use super::records::{Change, Instance, Namespace, Operation, Service, UNFINISHED, instance_key};
use crate::api::{Ctx, Result};
use crate::page::{self, Page};
use crate::store::StoreError;
use quarry_aws::servicediscovery::error;
use quarry_domain::arn::resource_part;
use quarry_wire::ServiceError;

/// A namespace by id or ARN. One that is being deleted is there still.
pub fn namespace(ctx: &Ctx<'_>, id: Option<&str>) -> Result<Namespace> {
    let id = id_of(id, "namespace/");
    let found: Option<Namespace> = ctx.tx.get(id)?;
    found.ok_or_else(|| error::namespace_not_found(format!("Namespace {id} was not found.")))
}

/// A service by id or ARN.
pub fn service(ctx: &Ctx<'_>, id: Option<&str>) -> Result<Service> {
    let id = id_of(id, "service/");
    let found: Option<Service> = ctx.tx.get(id)?;
    found.ok_or_else(|| no_service(id))
}

pub fn instance(ctx: &Ctx<'_>, service: &Service, id: &str) -> Result<Instance> {
    let found: Option<Instance> = ctx.tx.get(&instance_key(&service.id, id))?;
    found.ok_or_else(|| error::instance_not_found(format!("Instance {id} was not found in service {}.", service.id)))
}

/// What is under way, oldest first.
pub fn unfinished(ctx: &Ctx<'_>) -> Result<Vec<Operation>, StoreError> {
    ctx.tx.children(UNFINISHED)
}

/// Refuses a second change of what an operation is changing already.
pub fn not_under_way(ctx: &Ctx<'_>, same: impl Fn(&Change) -> bool) -> Result<()> {
    match unfinished(ctx)?.into_iter().find(|operation| operation.change.as_ref().is_some_and(&same)) {
        None => Ok(()),
        Some(operation) => Err(error::duplicate_request(format!(
            "Another operation of type {} and id {} is in progress",
            operation.kind.as_str(),
            operation.id
        ))
        .with("DuplicateOperationId", operation.id)),
    }
}

/// An id, or the one in an ARN of the kind.
pub fn id_of<'a>(id: Option<&'a str>, kind: &str) -> &'a str {
    let id = id.unwrap_or_default();
    match id.starts_with("arn:") {
        true => resource_part(id).strip_prefix(kind).unwrap_or(id),
        false => id,
    }
}

/// `<prefix>` and 16 letters and digits.
pub fn new_id(ctx: &Ctx<'_>, prefix: &str) -> String {
    letters(ctx, prefix, b"abcdefghijklmnopqrstuvwxyz234567", 16)
}

/// `<prefix>` and `count` of 32 characters.
pub fn letters(ctx: &Ctx<'_>, prefix: &str, alphabet: &[u8; 32], count: usize) -> String {
    let mut bytes = vec![0; count];
    ctx.platform.door.entropy.fill(&mut bytes);
    let letters = bytes.iter().map(|byte| char::from(alphabet[usize::from(byte % 32)]));
    prefix.chars().chain(letters).collect()
}

pub fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_input(message)
}

/// A page of a listing: 100 items unless fewer are asked for.
pub fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i32>,
) -> Result<Page<T>> {
    let size = max_results.unwrap_or(100).clamp(1, 100) as usize;
    page::after(items, key, token.filter(|token| !token.is_empty()), size)
        .ok_or_else(|| invalid("The NextToken is not valid."))
}

pub fn no_service(id: &str) -> ServiceError {
    error::service_not_found(format!("Service {id} was not found."))
}
