//! Cloud Map: namespaces, their services, who is found by their names.

use super::Ctx;
use crate::api::{Data, Told, Trouble};
use crate::html::{self, Page, live, part, section, table, text};
use futures_util::future::join_all;
use maud::{Markup, html};
use quarry_aws::servicediscovery::op::{
    GetInstancesHealthStatus, GetNamespace, ListInstances, ListNamespaces, ListServices,
};
use serde_json::{Value, json};

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let namespaces = ctx.api.all::<ListNamespaces>(json!({}), "Namespaces").await?;
    let rows = namespaces.iter().map(|one| {
        let path = format!("/namespaces/{}", crate::form::encoded(one.text("Id")));
        vec![
            html::link(&path, one.text("Name")),
            text(one.text("Type")),
            text(one.whole("ServiceCount")),
            text(one.text("Description")),
            html::when(one.time("CreateDate")),
        ]
    });
    let columns = ["Namespace", "Type", "#Services", "Description", "Created"];
    Ok(Page::new("Namespaces", live("all", "All namespaces", table("Namespaces", &columns, rows.collect()))))
}

pub async fn one(ctx: &Ctx<'_>, id: &str) -> Told<Page> {
    let found = ctx.api.ask::<GetNamespace>(json!({"Id": id})).await?;
    let namespace = found.at("Namespace");
    if namespace.is_null() {
        return Err(Trouble::Missing(format!("namespace {id}")));
    }
    let filter = json!([{"Name": "NAMESPACE_ID", "Values": [id]}]);
    let services = ctx.api.all::<ListServices>(json!({"Filters": filter}), "Services").await?;
    let instances = join_all(services.iter().map(|service| async move {
        let of = json!({"ServiceId": service.text("Id")});
        let instances = ctx.api.all::<ListInstances>(of.clone(), "Instances").await?;
        let health = match instances.is_empty() {
            true => Value::Null,
            false => ctx.api.ask::<GetInstancesHealthStatus>(of).await.unwrap_or_default(),
        };
        Ok((instances, health))
    }))
    .await;
    let name = namespace.text("Name");
    let body = html! {
        (section("namespace", "Namespace", html::facts(vec![
            ("Type", text(namespace.text("Type"))),
            ("Description", text(namespace.text("Description"))),
            ("Created", html::when(namespace.time("CreateDate"))),
            ("ARN", html::code(namespace.text("Arn"))),
        ])))
        (live("services", "Services", html! {
            @if services.is_empty() { p.none { "Services: none." } }
            @for (service, instances) in services.iter().zip(&instances) {
                h3 { (service.text("Name")) " " span.tag { (records(service)) } }
                (part(instances, |(instances, health)| instances_table(service.text("Name"), instances, health)))
            }
        }))
    };
    Ok(Page::new(name, body).under("Namespaces", "/namespaces"))
}

fn records(service: &Value) -> String {
    let records = service.list("DnsConfig.DnsRecords").iter();
    records.map(|r| format!("{} for {} s", r.text("Type"), r.whole("TTL"))).collect::<Vec<_>>().join(", ")
}

fn instances_table(service: &str, instances: &[Value], health: &Value) -> Markup {
    let rows = instances.iter().map(|instance| {
        let attribute = |name: &str| instance["Attributes"][name].as_str().unwrap_or_default();
        let port = attribute("AWS_INSTANCE_PORT");
        let id = instance.text("Id");
        vec![
            html::code(id),
            html::code(attribute("AWS_INSTANCE_IPV4")),
            text(port),
            html::state(health["Status"][id].as_str().unwrap_or_default()),
        ]
    });
    table(&format!("Instances of {service}"), &["Instance", "Address", "#Port", "Health"], rows.collect())
}
