//! What the tests of the codecs share.
#![allow(dead_code)]

use http::{HeaderMap, Method, Uri};
use quarry_wire::server::{self, Call, Refusal};
use quarry_wire::{OperationModel, ServiceModel};

/// The service and operation of these names.
pub fn operation(service: &str, name: &str) -> (&'static ServiceModel, &'static OperationModel) {
    let service = quarry_aws::SERVICES.iter().find(|s| s.id == service).expect("a service");
    (service, service.operation(name).unwrap_or_else(|| panic!("{} {name}", service.id)))
}

pub fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| ((*name).try_into().expect("a name"), value.parse().expect("a value"))).collect()
}

/// A POST to `/` with these headers and this body.
pub fn post<'a>(pairs: &[(&'static str, &str)], body: &'a [u8]) -> Result<Call<'a>, Refusal> {
    post_to("/", pairs, body)
}

/// A POST to a path.
pub fn post_to<'a>(path: &str, pairs: &[(&'static str, &str)], body: &'a [u8]) -> Result<Call<'a>, Refusal> {
    let uri: Uri = path.parse().expect("a path");
    server::identify(quarry_aws::SERVICES, &Method::POST, &uri, &headers(pairs), body)
}

/// An ECS-style call of an operation.
pub fn json_call<'a>(service: &str, name: &str, body: &'a str) -> Call<'a> {
    let (service, _) = operation(service, name);
    let target = format!("{}.{name}", service.target_prefix);
    post(&[("x-amz-target", &target)], body.as_bytes()).expect("known")
}

/// A form call.
pub fn form_call(body: &str) -> Call<'_> {
    post(&[], body.as_bytes()).expect("known")
}
