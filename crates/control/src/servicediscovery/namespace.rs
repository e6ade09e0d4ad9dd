//! Namespaces: HTTP and private DNS.

use super::find::{self, invalid, letters, new_id, page};
use super::records::{Change, Namespace, NamespaceKind, OperationType, Service};
use super::{check, filter, operation};
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use quarry_wire::Timestamp;

/// Seconds for which "there is no such name" may be kept, unless the namespace says otherwise.
const SOA_TTL: i64 = 15;

/// Namespaces of one account in one region, as Cloud Map's quota has it.
const MOST_NAMESPACES: usize = 50;

pub fn create_http(
    ctx: &mut Ctx<'_>,
    input: aws::CreateHttpNamespaceRequest,
) -> Result<aws::CreateHttpNamespaceResponse> {
    let name = input.name.unwrap_or_default();
    let (known, making) = existing(ctx, &name, input.creator_request_id.as_deref())?;
    if let Some(taken) = known.iter().chain(&making).find(|namespace| namespace.http_name == name) {
        return Err(already_exists(taken));
    }
    let namespace = Namespace {
        http_name: name.clone(),
        name,
        kind: NamespaceKind::Http,
        description: input.description,
        creator_request_id: input.creator_request_id,
        tags: check::tags(input.tags, "namespace")?,
        ..blank(ctx)
    };
    let operation_id = Some(begin_create(ctx, namespace)?);
    Ok(aws::CreateHttpNamespaceResponse { operation_id })
}

pub fn create_private_dns(
    ctx: &mut Ctx<'_>,
    input: aws::CreatePrivateDnsNamespaceRequest,
) -> Result<aws::CreatePrivateDnsNamespaceResponse> {
    let name = input.name.unwrap_or_default();
    let vpc = input.vpc.unwrap_or_default();
    let (known, making) = existing(ctx, &name, input.creator_request_id.as_deref())?;
    let soa = input.properties.and_then(|p| p.dns_properties).and_then(|p| p.soa).and_then(|soa| soa.ttl);
    let blank = blank(ctx);
    let taken = known.iter().chain(&making).any(|namespace| namespace.http_name == name);
    let namespace = Namespace {
        http_name: match taken {
            true => format!("{name}-{}", &blank.id["ns-".len()..][..8]),
            false => name.clone(),
        },
        name,
        kind: NamespaceKind::DnsPrivate {
            vpc,
            hosted_zone_id: letters(ctx, "Z", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", 20),
            soa_ttl: soa.unwrap_or(SOA_TTL),
        },
        description: input.description,
        creator_request_id: input.creator_request_id,
        tags: check::tags(input.tags, "namespace")?,
        ..blank
    };
    let operation_id = Some(begin_create(ctx, namespace)?);
    Ok(aws::CreatePrivateDnsNamespaceResponse { operation_id })
}

/// Namespaces that are there and that are being made, after the checks that both kinds share.
fn existing(ctx: &Ctx<'_>, name: &str, request: Option<&str>) -> Result<(Vec<Namespace>, Vec<Namespace>)> {
    check::namespace_name(name)?;
    find::not_under_way(ctx, |change| {
        matches!(change, Change::CreateNamespace(making)
            if request.is_some() && making.creator_request_id.as_deref() == request)
    })?;
    let known: Vec<Namespace> = ctx.tx.all()?;
    let same = |namespace: &&Namespace| request.is_some() && namespace.creator_request_id.as_deref() == request;
    if let Some(made) = known.iter().find(same) {
        return Err(already_exists(made));
    }
    let making = find::unfinished(ctx)?.into_iter().filter_map(|operation| match operation.change {
        Some(Change::CreateNamespace(namespace)) => Some(*namespace),
        _ => None,
    });
    let making: Vec<Namespace> = making.collect();
    if known.len() + making.len() >= MOST_NAMESPACES {
        return Err(error::resource_limit_exceeded(format!(
            "The limit of {MOST_NAMESPACES} namespaces has been reached."
        )));
    }
    Ok((known, making))
}

fn already_exists(namespace: &Namespace) -> quarry_wire::ServiceError {
    let error =
        error::namespace_already_exists(format!("A namespace with the name {} exists already.", namespace.name))
            .with("NamespaceId", namespace.id.clone());
    match &namespace.creator_request_id {
        Some(id) => error.with("CreatorRequestId", id.clone()),
        None => error,
    }
}

/// A namespace with nothing but its identity.
fn blank(ctx: &Ctx<'_>) -> Namespace {
    let id = new_id(ctx, "ns-");
    Namespace {
        arn: ctx.platform.place().arn("servicediscovery", format_args!("namespace/{id}")),
        id,
        name: String::new(),
        kind: NamespaceKind::Http,
        http_name: String::new(),
        description: None,
        creator_request_id: None,
        created_ms: ctx.platform.now_ms(),
        tags: Default::default(),
    }
}

fn begin_create(ctx: &Ctx<'_>, namespace: Namespace) -> Result<String> {
    let request = namespace.creator_request_id.clone();
    let targets = [("NAMESPACE", namespace.id.clone())];
    let change = Change::CreateNamespace(Box::new(namespace));
    operation::begin(ctx, OperationType::CreateNamespace, targets, change, request)
}

/// Makes it; the other way is a code of `Operation.ErrorCode` and its message.
pub fn make(ctx: &mut Ctx<'_>, namespace: &Namespace) -> Result<Result<(), (String, String)>> {
    if let NamespaceKind::DnsPrivate { vpc, .. } = &namespace.kind {
        let refused = |message: String| Ok(Err(("CANNOT_CREATE_HOSTED_ZONE".to_owned(), message)));
        if !check::is_domain_name(&namespace.name) {
            return refused(format!("{} is not a valid domain name.", namespace.name));
        }
        let input = quarry_aws::ec2::DescribeVpcsRequest { vpc_ids: Some(vec![vpc.clone()]), ..Default::default() };
        match ctx.invoke::<quarry_aws::ec2::op::DescribeVpcs>(input) {
            Ok(found) if found.vpcs.iter().flatten().next().is_some() => {}
            Err(error) if error.status >= 500 => return Err(error),
            Ok(_) | Err(_) => return refused(format!("The VPC {vpc} does not exist.")),
        }
        let region = &ctx.platform.place().region;
        let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        for other in ctx.tx.all::<Namespace>()? {
            match &other.kind {
                NamespaceKind::DnsPrivate { vpc: theirs, hosted_zone_id, .. }
                    if theirs == vpc && plain(&other.name) == plain(&namespace.name) =>
                {
                    return refused(format!(
                        "The VPC {vpc} in region {region} has already been associated with the hosted zone {hosted_zone_id} with the same domain name."
                    ));
                }
                NamespaceKind::DnsPrivate { .. } | NamespaceKind::Http => {}
            }
        }
    }
    ctx.tx.put(namespace)?;
    Ok(Ok(()))
}

pub fn get(ctx: &mut Ctx<'_>, input: aws::GetNamespaceRequest) -> Result<aws::GetNamespaceResponse> {
    let namespace = find::namespace(ctx, input.id.as_deref())?;
    let shown = summary(ctx, &namespace)?;
    Ok(aws::GetNamespaceResponse {
        namespace: Some(aws::Namespace {
            arn: shown.arn,
            create_date: shown.create_date,
            creator_request_id: namespace.creator_request_id,
            description: shown.description,
            id: shown.id,
            name: shown.name,
            properties: shown.properties,
            resource_owner: shown.resource_owner,
            service_count: shown.service_count,
            r#type: shown.r#type,
        }),
    })
}

pub fn list(ctx: &mut Ctx<'_>, input: aws::ListNamespacesRequest) -> Result<aws::ListNamespacesResponse> {
    let filters =
        input.filters.unwrap_or_default().into_iter().map(|f| filter::Filter::new(f.name, f.condition, f.values));
    let mut found: Vec<Namespace> = ctx.tx.all()?;
    for filter in filters {
        filter.check(&[
            ("TYPE", &["EQ", "BEGINS_WITH"]),
            ("NAME", &["EQ", "BEGINS_WITH"]),
            ("HTTP_NAME", &["EQ", "BEGINS_WITH"]),
            ("RESOURCE_OWNER", &["EQ"]),
        ])?;
        found.retain(|namespace| match filter.name.as_str() {
            "TYPE" => filter.passes(namespace.kind.as_str()),
            "NAME" => filter.passes(&namespace.name),
            "HTTP_NAME" => filter.passes(&namespace.http_name),
            _ => filter.passes("SELF"),
        });
    }
    let (found, next_token) = page(found, |n| n.id.clone(), input.next_token.as_deref(), input.max_results)?;
    let namespaces = found.iter().map(|namespace| summary(ctx, namespace)).collect::<Result<_, _>>()?;
    Ok(aws::ListNamespacesResponse { namespaces: Some(namespaces), next_token })
}

pub fn update_http(
    ctx: &mut Ctx<'_>,
    input: aws::UpdateHttpNamespaceRequest,
) -> Result<aws::UpdateHttpNamespaceResponse> {
    let namespace = find::namespace(ctx, input.id.as_deref())?;
    if namespace.kind != NamespaceKind::Http {
        return Err(invalid(format!("Namespace {} is not an HTTP namespace.", namespace.id)));
    }
    let description = input.namespace.and_then(|change| change.description);
    let operation_id = Some(begin_update(ctx, namespace, description, None, input.updater_request_id)?);
    Ok(aws::UpdateHttpNamespaceResponse { operation_id })
}

pub fn update_private_dns(
    ctx: &mut Ctx<'_>,
    input: aws::UpdatePrivateDnsNamespaceRequest,
) -> Result<aws::UpdatePrivateDnsNamespaceResponse> {
    let namespace = find::namespace(ctx, input.id.as_deref())?;
    if namespace.vpc().is_none() {
        return Err(invalid(format!("Namespace {} is not a private DNS namespace.", namespace.id)));
    }
    let change = input.namespace.unwrap_or_default();
    let soa = change.properties.and_then(|p| p.dns_properties).and_then(|p| p.soa).and_then(|soa| soa.ttl);
    let operation_id = Some(begin_update(ctx, namespace, change.description, soa, input.updater_request_id)?);
    Ok(aws::UpdatePrivateDnsNamespaceResponse { operation_id })
}

fn begin_update(
    ctx: &Ctx<'_>,
    namespace: Namespace,
    description: Option<String>,
    soa_ttl: Option<i64>,
    request: Option<String>,
) -> Result<String> {
    find::not_under_way(
        ctx,
        |change| matches!(change, Change::UpdateNamespace { id, .. } | Change::DeleteNamespace { id } if *id == namespace.id),
    )?;
    let targets = [("NAMESPACE", namespace.id.clone())];
    let change = Change::UpdateNamespace { id: namespace.id, description, soa_ttl };
    operation::begin(ctx, OperationType::UpdateNamespace, targets, change, request)
}

pub fn delete(ctx: &mut Ctx<'_>, input: aws::DeleteNamespaceRequest) -> Result<aws::DeleteNamespaceResponse> {
    let namespace = find::namespace(ctx, input.id.as_deref())?;
    find::not_under_way(
        ctx,
        |change| matches!(change, Change::UpdateNamespace { id, .. } | Change::DeleteNamespace { id } if *id == namespace.id),
    )?;
    if !ctx.tx.children::<Service>(&namespace.id)?.is_empty() {
        return Err(error::resource_in_use(
            "Namespace has associated services; delete the services before deleting the namespace",
        ));
    }
    let targets = [("NAMESPACE", namespace.id.clone())];
    let change = Change::DeleteNamespace { id: namespace.id };
    let operation_id = Some(operation::begin(ctx, OperationType::DeleteNamespace, targets, change, None)?);
    Ok(aws::DeleteNamespaceResponse { operation_id })
}

fn summary(ctx: &Ctx<'_>, namespace: &Namespace) -> Result<aws::NamespaceSummary, StoreError> {
    let services = ctx.tx.children::<Service>(&namespace.id)?.len();
    let dns_properties = match &namespace.kind {
        NamespaceKind::Http => None,
        NamespaceKind::DnsPrivate { hosted_zone_id, soa_ttl, .. } => Some(aws::DnsProperties {
            hosted_zone_id: Some(hosted_zone_id.clone()),
            soa: Some(aws::SOA { ttl: Some(*soa_ttl) }),
        }),
    };
    Ok(aws::NamespaceSummary {
        arn: Some(namespace.arn.clone()),
        create_date: Some(Timestamp::from_millis(namespace.created_ms)),
        description: namespace.description.clone(),
        id: Some(namespace.id.clone()),
        name: Some(namespace.name.clone()),
        properties: Some(aws::NamespaceProperties {
            dns_properties,
            http_properties: Some(aws::HttpProperties { http_name: Some(namespace.http_name.clone()) }),
        }),
        resource_owner: Some(ctx.platform.place().account.clone()),
        service_count: Some(services as i32),
        r#type: Some(namespace.kind.as_str().to_owned()),
    })
}

/// The names of a VPC's namespaces, oldest first: what a task there may leave out of a name.
pub fn names_of_vpc(tx: &Tx<'_>, vpc: &str) -> Result<Vec<String>, StoreError> {
    let namespaces: Vec<Namespace> = tx.all()?;
    Ok(namespaces.into_iter().filter(|n| n.vpc() == Some(vpc)).map(|n| n.name).collect())
}
