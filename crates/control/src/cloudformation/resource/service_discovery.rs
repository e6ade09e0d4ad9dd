//! Cloud Map: namespaces, services and instances. What takes a while is waited for by its operation.

use super::call::{call, refused, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, is_absent, members};
use crate::api::{Ctx, Result};
use quarry_aws::servicediscovery::op;
use serde_json::{Map, Value, json};

/// `AWS::ServiceDiscovery::PrivateDnsNamespace`.
pub struct PrivateDnsNamespace;

/// `AWS::ServiceDiscovery::HttpNamespace`.
pub struct HttpNamespace;

/// `AWS::ServiceDiscovery::Service`.
pub struct Service;

/// `AWS::ServiceDiscovery::Instance`.
pub struct Instance;

/// Where a resource's operation that is under way is kept. It is no attribute of the type.
const OPERATION: &str = "OperationId";

impl ResourceType for PrivateDnsNamespace {
    fn name(&self) -> &'static str {
        "AWS::ServiceDiscovery::PrivateDnsNamespace"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Description", "Name", "Properties", "Tags", "Vpc"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Name", "Vpc"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "Id"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Description", "Properties", "Tags"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Properties", "Tags"]);
        if let Some(properties) = wanted.properties.get("Properties") {
            input.insert("Properties".into(), soa(properties));
        }
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreatePrivateDnsNamespace>(ctx, input.into())?;
        namespace(ctx, &output)
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        finished(ctx, made)
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut namespace = change.values(&[("Description", "".into())]);
        let default = json!({"DnsProperties": {"SOA": {"TTL": 15}}});
        if let Some(properties) = change.value("Properties", default) {
            namespace.insert("Properties".into(), soa(&properties));
        }
        let mut made = made.clone();
        if !namespace.is_empty() {
            let input = json!({"Id": made.physical_id, "Namespace": namespace});
            let output = call::<op::UpdatePrivateDnsNamespace>(ctx, input)?;
            made = made.with(OPERATION, text(&output, "/OperationId")?);
        }
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"ResourceARN": made.attributes["Arn"]}))?;
        Ok(made)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetNamespace>(ctx, json!({"Id": made.physical_id}))?;
        Ok(members(&output["Namespace"], &["Description", "Name"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        delete_namespace(ctx, made)
    }
}

impl ResourceType for HttpNamespace {
    fn name(&self) -> &'static str {
        "AWS::ServiceDiscovery::HttpNamespace"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Description", "Name", "Tags"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Name"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "Id"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Description", "Tags"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Tags"]);
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateHttpNamespace>(ctx, input.into())?;
        namespace(ctx, &output)
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        finished(ctx, made)
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut made = made.clone();
        if let Some(description) = change.value("Description", "") {
            let input = json!({"Id": made.physical_id, "Namespace": {"Description": description}});
            let output = call::<op::UpdateHttpNamespace>(ctx, input)?;
            made = made.with(OPERATION, text(&output, "/OperationId")?);
        }
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"ResourceARN": made.attributes["Arn"]}))?;
        Ok(made)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetNamespace>(ctx, json!({"Id": made.physical_id}))?;
        Ok(members(&output["Namespace"], &["Description", "Name"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        delete_namespace(ctx, made)
    }
}

impl ResourceType for Service {
    fn name(&self) -> &'static str {
        "AWS::ServiceDiscovery::Service"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "Description",
            "DnsConfig",
            "HealthCheckConfig",
            "HealthCheckCustomConfig",
            "Name",
            "NamespaceId",
            "Tags",
            "Type",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "Id", "Name"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Description", "DnsConfig", "HealthCheckConfig", "Tags"]
    }

    /// Where instances are found, and the types of their records, stay.
    fn conditional(&self) -> &'static [&'static str] {
        &["DnsConfig"]
    }

    fn replaces(&self, old: &Wanted, new: &Wanted) -> bool {
        let fixed = |wanted: &Wanted| {
            let dns = wanted.properties.get("DnsConfig").cloned().unwrap_or_default();
            let records = dns["DnsRecords"].as_array().into_iter().flatten();
            let types: Vec<Value> = records.map(|record| record["Type"].clone()).collect();
            (dns["NamespaceId"].clone(), dns["RoutingPolicy"].clone(), types)
        };
        fixed(old) != fixed(new)
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Name", "Tags"]);
        input.insert("Name".into(), wanted.name("Name", 127).into());
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateService>(ctx, input.into())?;
        let service = &output["Service"];
        let id = text(service, "/Id")?;
        Ok(Made::new(&id).with("Id", id).with("Arn", text(service, "/Arn")?).with("Name", text(service, "/Name")?))
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        finished(ctx, made)
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut made = made.clone();
        if change.any(&["Description", "DnsConfig", "HealthCheckConfig"]) {
            // What is not named goes, so all of it is named.
            let mut service = new.pick(&["HealthCheckConfig"]);
            if let Some(dns) = new.properties.get("DnsConfig") {
                service.insert("DnsConfig".into(), members(dns, &["DnsRecords"]).into());
            }
            service.insert("Description".into(), new.text("Description").unwrap_or_default().into());
            let input = json!({"Id": made.physical_id, "Service": service});
            let output = call::<op::UpdateService>(ctx, input)?;
            made = made.with(OPERATION, text(&output, "/OperationId")?);
        }
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"ResourceARN": made.attributes["Arn"]}))?;
        Ok(made)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetService>(ctx, json!({"Id": made.physical_id}))?;
        Ok(members(&output["Service"], self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteService>(ctx, json!({"Id": made.physical_id})))
    }
}

impl ResourceType for Instance {
    fn name(&self) -> &'static str {
        "AWS::ServiceDiscovery::Instance"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["InstanceAttributes", "InstanceId", "ServiceId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["InstanceAttributes", "ServiceId"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["InstanceAttributes"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let id = wanted.name("InstanceId", 64);
        register(ctx, Made::new(id), wanted)
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        finished(ctx, made)
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        register(ctx, made.clone(), new)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"ServiceId": properties["ServiceId"], "InstanceId": made.physical_id});
        let output = call::<op::GetInstance>(ctx, input)?;
        Ok(Map::from_iter([("InstanceAttributes".to_owned(), output["Instance"]["Attributes"].clone())]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"ServiceId": properties["ServiceId"], "InstanceId": made.physical_id});
        match call::<op::DeregisterInstance>(ctx, input) {
            Ok(_) => Ok(Progress::Waiting),
            Err(error) if error.code == "DuplicateRequest" => Ok(Progress::Waiting),
            other => deleted(other),
        }
    }
}

fn register(ctx: &mut Ctx<'_>, made: Made, wanted: &Wanted) -> Result<Made> {
    let input = json!({
        "ServiceId": wanted.needed("ServiceId")?,
        "InstanceId": made.physical_id,
        "Attributes": wanted.properties["InstanceAttributes"],
    });
    let output = call::<op::RegisterInstance>(ctx, input)?;
    Ok(made.with(OPERATION, text(&output, "/OperationId")?))
}

/// A namespace's properties: `DnsProperties` with an `SOA`, whose letters are of another case in the service.
fn soa(properties: &Value) -> Value {
    json!({"DnsProperties": {"SOA": {"TTL": properties["DnsProperties"]["SOA"]["TTL"]}}})
}

/// The namespace that an operation makes.
fn namespace(ctx: &mut Ctx<'_>, output: &Value) -> Result<Made> {
    let operation = text(output, "/OperationId")?;
    let seen = call::<op::GetOperation>(ctx, json!({"OperationId": operation}))?;
    let id = text(&seen, "/Operation/Targets/NAMESPACE")?;
    let arn = ctx.platform.place().arn("servicediscovery", format_args!("namespace/{id}"));
    Ok(Made::new(&id).with("Id", id).with("Arn", arn).with(OPERATION, operation))
}

/// How far the operation is that a resource was last made or changed by.
fn finished(ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
    let Some(operation) = made.attributes.get(OPERATION) else { return Ok(Progress::Done) };
    let output = match call::<op::GetOperation>(ctx, json!({"OperationId": operation})) {
        // Forgotten, so it ended long ago.
        Err(error) if is_absent(&error) => return Ok(Progress::Done),
        other => other?,
    };
    match output["Operation"]["Status"].as_str() {
        Some("SUCCESS") => Ok(Progress::Done),
        Some("FAIL") => Err(refused(text(&output, "/Operation/ErrorMessage").unwrap_or_default())),
        _ => Ok(Progress::Waiting),
    }
}

fn delete_namespace(ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
    match call::<op::DeleteNamespace>(ctx, json!({"Id": made.physical_id})) {
        Ok(_) => Ok(Progress::Waiting),
        Err(error) if error.code == "DuplicateRequest" => Ok(Progress::Waiting),
        other => deleted(other),
    }
}
