//! The operations through `Operations`, with the reconciler moved by hand, and the names they make.

use super::records::{Instance, Namespace, Service};
use super::{dns, reconcile, register};
use crate::elbv2::tests as elb;
use crate::store::{StoreError, Tx};
use crate::testing::World;
use quarry_aws::servicediscovery::{self as aws, op};
use quarry_domain::snapshot::NameRecord;
use quarry_wire::ServiceError;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

type Outcome<T> = Result<T, ServiceError>;

fn world() -> World {
    World::new(|operations| {
        register(operations);
        crate::elbv2::register(operations);
        elb::fake_ec2(operations);
    })
}

/// Calls an operation with its input as JSON.
fn call<O>(world: &World, input: serde_json::Value) -> Outcome<O::Output>
where
    O: quarry_wire::Operation,
    O::Input: serde::de::DeserializeOwned,
{
    world.call::<O>(serde_json::from_value(input).unwrap())
}

fn code<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    outcome.unwrap_err().code
}

fn settle(world: &World) {
    reconcile::pass(&world.platform, &world.operations).unwrap();
}

fn operation(world: &World, id: Option<String>) -> aws::Operation {
    call::<op::GetOperation>(world, json!({"OperationId": id.unwrap()})).unwrap().operation.unwrap()
}

/// Settles; the operation must have succeeded.
fn done(world: &World, id: Option<String>) {
    settle(world);
    let operation = operation(world, id);
    assert_eq!(operation.status.as_deref(), Some("SUCCESS"), "{operation:?}");
}

/// Settles; the operation must have failed.
fn failed(world: &World, id: Option<String>) -> (String, String) {
    settle(world);
    let operation = operation(world, id);
    assert_eq!(operation.status.as_deref(), Some("FAIL"));
    (operation.error_code.unwrap(), operation.error_message.unwrap())
}

fn private(world: &World, name: &str, vpc: &str) -> String {
    let output = call::<op::CreatePrivateDnsNamespace>(world, json!({"Name": name, "Vpc": vpc})).unwrap();
    done(world, output.operation_id.clone());
    operation(world, output.operation_id).targets.unwrap()["NAMESPACE"].clone()
}

fn http(world: &World, name: &str) -> String {
    let output = call::<op::CreateHttpNamespace>(world, json!({"Name": name})).unwrap();
    done(world, output.operation_id.clone());
    operation(world, output.operation_id).targets.unwrap()["NAMESPACE"].clone()
}

/// A service with records of these types; `more` is merged into the request.
fn service(
    world: &World,
    namespace: &str,
    name: &str,
    types: &[&str],
    more: serde_json::Value,
) -> Outcome<aws::Service> {
    let mut input = json!({"Name": name, "NamespaceId": namespace});
    if !types.is_empty() {
        let records: Vec<_> = types.iter().map(|kind| json!({"Type": kind, "TTL": 10})).collect();
        input["DnsConfig"] = json!({ "DnsRecords": records });
    }
    for (key, value) in more.as_object().unwrap() {
        match (key.as_str(), value) {
            ("RoutingPolicy", value) => input["DnsConfig"]["RoutingPolicy"] = value.clone(),
            (key, value) => input[key] = value.clone(),
        }
    }
    Ok(call::<op::CreateService>(world, input)?.service.unwrap())
}

fn custom() -> serde_json::Value {
    json!({"HealthCheckCustomConfig": {"FailureThreshold": 3}})
}

fn begin_instance(world: &World, service: &str, id: &str, attributes: serde_json::Value) -> Outcome<Option<String>> {
    let input = json!({"ServiceId": service, "InstanceId": id, "Attributes": attributes});
    Ok(call::<op::RegisterInstance>(world, input)?.operation_id)
}

fn instance(world: &World, service: &str, id: &str, attributes: serde_json::Value) {
    let operation = begin_instance(world, service, id, attributes).unwrap();
    done(world, operation);
}

fn discover(world: &World, more: serde_json::Value) -> Outcome<BTreeSet<String>> {
    let mut input = json!({"NamespaceName": "board.local", "ServiceName": "posts"});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let found = call::<op::DiscoverInstances>(world, input)?.instances.unwrap();
    Ok(found.into_iter().map(|found| found.instance_id.unwrap()).collect())
}

/// All names, with the load balancer of this name at 198.19.1.9.
fn records_with(world: &World, balancer: &str) -> Vec<NameRecord> {
    let balancers = HashMap::from([(balancer.to_ascii_lowercase(), Ipv4Addr::new(198, 19, 1, 9))]);
    let all = |tx: &Tx<'_>| {
        let mut found = Vec::new();
        for service in tx.shared::<Service>()?.iter() {
            found.extend(dns::of_service(tx, service, &balancers)?);
        }
        Ok::<_, StoreError>(found)
    };
    world.platform.store.read(all).unwrap()
}

/// All names, with the load balancer `lb.test`.
fn names(world: &World) -> HashMap<String, Vec<NameRecord>> {
    let mut names: HashMap<String, Vec<NameRecord>> = HashMap::new();
    for record in records_with(world, "lb.test") {
        names.entry(record.name.clone()).or_default().push(record);
    }
    names
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[test]
fn namespaces_are_made_shown_changed_and_deleted_by_operations() {
    let world = world();
    let input = json!({"Name": "board.local", "Vpc": "vpc-1", "Description": "d", "CreatorRequestId": "once",
        "Properties": {"DnsProperties": {"SOA": {"TTL": 60}}}, "Tags": [{"Key": "k", "Value": "v"}]});
    let begun = call::<op::CreatePrivateDnsNamespace>(&world, input.clone()).unwrap();
    let submitted = operation(&world, begun.operation_id.clone());
    assert_eq!(submitted.status.as_deref(), Some("SUBMITTED"));
    assert_eq!(submitted.r#type.as_deref(), Some("CREATE_NAMESPACE"));
    let id = submitted.targets.unwrap()["NAMESPACE"].clone();
    assert_eq!(code(call::<op::GetNamespace>(&world, json!({"Id": id}))), "NamespaceNotFound");
    // The same request again, while it is under way and after.
    let again = call::<op::CreatePrivateDnsNamespace>(&world, input.clone()).unwrap_err();
    assert_eq!(again.code, "DuplicateRequest");
    assert_eq!(again.details["DuplicateOperationId"].as_str(), begun.operation_id.as_deref());
    done(&world, begun.operation_id);
    let again = call::<op::CreatePrivateDnsNamespace>(&world, input).unwrap_err();
    assert_eq!((again.code.as_str(), again.details["NamespaceId"].as_str()), ("NamespaceAlreadyExists", Some(&*id)));

    let get = || call::<op::GetNamespace>(&world, json!({"Id": id})).unwrap().namespace.unwrap();
    let shown = get();
    let arn = shown.arn.clone().unwrap();
    assert_eq!(arn, format!("arn:aws:servicediscovery:us-east-1:000000000000:namespace/{id}"));
    assert_eq!((shown.r#type.as_deref(), shown.service_count), (Some("DNS_PRIVATE"), Some(0)));
    let properties = shown.properties.unwrap();
    let dns = properties.dns_properties.unwrap();
    assert_eq!(dns.soa.unwrap().ttl, Some(60));
    assert!(dns.hosted_zone_id.unwrap().starts_with('Z'));
    assert_eq!(properties.http_properties.unwrap().http_name.as_deref(), Some("board.local"));
    assert_eq!(call::<op::GetNamespace>(&world, json!({"Id": arn})).unwrap().namespace.unwrap().id.as_ref(), Some(&id));

    let change =
        json!({"Id": id, "Namespace": {"Description": "new", "Properties": {"DnsProperties": {"SOA": {"TTL": 5}}}}});
    let update = call::<op::UpdatePrivateDnsNamespace>(&world, change).unwrap();
    done(&world, update.operation_id);
    assert_eq!(get().description.as_deref(), Some("new"));
    assert_eq!(get().properties.unwrap().dns_properties.unwrap().soa.unwrap().ttl, Some(5));
    let wrong = call::<op::UpdateHttpNamespace>(&world, json!({"Id": id, "Namespace": {"Description": "x"}}));
    assert_eq!(code(wrong), "InvalidInput");

    let service = service(&world, &id, "posts", &["A"], json!({})).unwrap().id.unwrap();
    assert_eq!(get().service_count, Some(1));
    let delete = || call::<op::DeleteNamespace>(&world, json!({"Id": id}));
    assert_eq!(code(delete()), "ResourceInUse");
    call::<op::DeleteService>(&world, json!({"Id": service})).unwrap();
    let begun = delete().unwrap();
    assert_eq!(code(delete()), "DuplicateRequest");
    assert_eq!(code(self::service(&world, &id, "late", &["A"], json!({}))), "DuplicateRequest");
    done(&world, begun.operation_id);
    assert_eq!(code(delete()), "NamespaceNotFound");
    assert_eq!(world.platform.store.read(|tx| tx.all::<Namespace>()).unwrap(), []);
}

#[test]
fn what_no_hosted_zone_can_be_made_for_fails_and_leaves_nothing() {
    let world = world();
    private(&world, "board.local", "vpc-1");
    private(&world, "board.local", "vpc-2");
    for (name, vpc, words) in [
        ("Board.local", "vpc-1", "has already been associated with the hosted zone"),
        ("new.local", "none", "does not exist"),
        ("a..b", "vpc-1", "valid domain name"),
    ] {
        let output = call::<op::CreatePrivateDnsNamespace>(&world, json!({"Name": name, "Vpc": vpc})).unwrap();
        let (code, message) = failed(&world, output.operation_id);
        assert_eq!(code, "CANNOT_CREATE_HOSTED_ZONE");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(call::<op::ListNamespaces>(&world, json!({})).unwrap().namespaces.unwrap().len(), 2);
    // What an API asks for by name is one namespace: the second has another name there.
    assert_eq!(code(call::<op::CreateHttpNamespace>(&world, json!({"Name": "board.local"}))), "NamespaceAlreadyExists");
    let of = |filter: serde_json::Value| {
        let found = call::<op::ListNamespaces>(&world, json!({"Filters": [filter]}))?.namespaces.unwrap();
        Ok::<_, ServiceError>(found.len())
    };
    assert_eq!(of(json!({"Name": "NAME", "Values": ["board.local"]})).unwrap(), 2);
    assert_eq!(of(json!({"Name": "HTTP_NAME", "Values": ["board.local"]})).unwrap(), 1);
    assert_eq!(of(json!({"Name": "HTTP_NAME", "Values": ["board."], "Condition": "BEGINS_WITH"})).unwrap(), 2);
    assert_eq!(of(json!({"Name": "TYPE", "Values": ["HTTP"]})).unwrap(), 0);
    assert_eq!(of(json!({"Name": "RESOURCE_OWNER", "Values": ["SELF"]})).unwrap(), 2);
    assert_eq!(code(of(json!({"Name": "TYPE", "Values": ["HTTP", "DNS_PRIVATE"]}))), "InvalidInput");
    assert_eq!(code(of(json!({"Name": "TYPE", "Values": ["HTTP"], "Condition": "IN"}))), "InvalidInput");
}

#[test]
fn services_are_checked_shown_and_changed() {
    let world = world();
    let namespace = private(&world, "board.local", "vpc-1");
    let made = service(&world, &namespace, "posts", &["A", "SRV"], custom()).unwrap();
    assert_eq!((made.r#type.as_deref(), made.instance_count), (Some("DNS_HTTP"), Some(0)));
    assert_eq!(made.health_check_custom_config.unwrap().failure_threshold, Some(1));
    let dns = made.dns_config.unwrap();
    assert_eq!(dns.routing_policy.as_deref(), Some("MULTIVALUE"));
    assert_eq!(dns.namespace_id.as_ref(), Some(&namespace));
    let taken = service(&world, &namespace, "Posts", &["A"], json!({})).unwrap_err();
    assert_eq!(
        (taken.code.as_str(), taken.details["ServiceId"].as_str()),
        ("ServiceAlreadyExists", made.id.as_deref())
    );
    for (name, types, more) in [
        ("a b", &["A"][..], json!({})),
        ("x", &["A", "CNAME"], json!({})),
        ("x", &["A", "A"], json!({})),
        ("x", &["CNAME"], json!({})),
        ("x", &[], json!({})),
        ("x", &["A"], json!({"Type": "HTTP"})),
        ("x", &["A"], json!({"HealthCheckConfig": {"Type": "TCP"}})),
        ("x", &["A"], json!({"DnsConfig": {"NamespaceId": "ns-other", "DnsRecords": []}})),
    ] {
        assert_eq!(
            code(service(&world, &namespace, name, types, more.clone())),
            "InvalidInput",
            "{name} {types:?} {more}"
        );
    }
    assert_eq!(code(service(&world, "ns-gone", "x", &["A"], json!({}))), "NamespaceNotFound");
    // The older form names the namespace inside.
    let older =
        json!({"Name": "old", "DnsConfig": {"NamespaceId": namespace, "DnsRecords": [{"Type": "A", "TTL": 1}]}});
    call::<op::CreateService>(&world, older).unwrap();
    let api_only = service(&world, &namespace, "api", &[], json!({"Type": "HTTP"})).unwrap();
    assert_eq!((api_only.r#type.as_deref(), api_only.dns_config), (Some("HTTP"), None));

    let id = made.id.unwrap();
    let update = |change: serde_json::Value| call::<op::UpdateService>(&world, json!({"Id": id, "Service": change}));
    let records = |a: i64, srv: i64| json!([{"Type": "SRV", "TTL": srv}, {"Type": "A", "TTL": a}]);
    let begun = update(json!({"Description": "d", "DnsConfig": {"DnsRecords": records(1, 2)}})).unwrap();
    assert_eq!(code(update(json!({"DnsConfig": {"DnsRecords": records(3, 4)}}))), "DuplicateRequest");
    done(&world, begun.operation_id);
    let shown = call::<op::GetService>(&world, json!({"Id": id})).unwrap().service.unwrap();
    let ttls: Vec<_> = shown.dns_config.unwrap().dns_records.unwrap().iter().map(|r| r.ttl.unwrap()).collect();
    assert_eq!((shown.description.as_deref(), ttls), (Some("d"), vec![2, 1]));
    assert_eq!(code(update(json!({"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 1}]}}))), "InvalidInput");

    let http = http(&world, "plain");
    assert_eq!(code(service(&world, &http, "x", &["A"], json!({}))), "InvalidInput");
    assert_eq!(code(service(&world, &http, "x", &[], json!({"HealthCheckConfig": {"Type": "TCP"}}))), "InvalidInput");
    let one = service(&world, &http, "x", &[], json!({})).unwrap().id.unwrap();
    service(&world, &http, "X", &[], json!({})).unwrap();
    assert_eq!(
        code(call::<op::UpdateService>(&world, json!({"Id": one, "Service": {"Description": "d"}}))),
        "InvalidInput"
    );
    let listed = |filters: serde_json::Value| {
        call::<op::ListServices>(&world, json!({"Filters": filters})).unwrap().services.unwrap().len()
    };
    assert_eq!(listed(json!([])), 5);
    assert_eq!(listed(json!([{"Name": "NAMESPACE_ID", "Values": [http]}])), 2);
}

#[test]
fn instances_come_and_go_by_operations_and_hold_their_service() {
    let world = world();
    let namespace = private(&world, "board.local", "vpc-1");
    let posts = service(&world, &namespace, "posts", &["A", "SRV"], custom()).unwrap();
    let (id, arn) = (posts.id.unwrap(), posts.arn.unwrap());
    let good = json!({"AWS_INSTANCE_IPV4": "198.19.128.1", "AWS_INSTANCE_PORT": "3000", "version": "v1"});
    let with = |key: &str, value: Option<&str>| {
        let mut attributes = good.clone();
        match value {
            Some(value) => attributes[key] = json!(value),
            None => drop(attributes.as_object_mut().unwrap().remove(key)),
        }
        attributes
    };
    for bad in [
        with("AWS_INSTANCE_IPV4", None),
        with("AWS_INSTANCE_IPV4", Some("1.2.3")),
        with("AWS_INSTANCE_PORT", None),
        with("AWS_INSTANCE_PORT", Some("0")),
        with("AWS_INIT_HEALTH_STATUS", Some("FINE")),
        with("AWS_EC2_INSTANCE_ID", Some("i-1")),
        with("AWS_ALIAS_DNS_NAME", Some("lb.test")),
        with("a b", Some("c")),
    ] {
        assert_eq!(code(begin_instance(&world, &id, "one", bad.clone())), "InvalidInput", "{bad}");
    }
    assert_eq!(code(begin_instance(&world, &id, "a b", good.clone())), "InvalidInput");
    assert_eq!(code(begin_instance(&world, "srv-gone", "one", good.clone())), "ServiceNotFound");
    let begun = begin_instance(&world, &arn, "one", good.clone()).unwrap();
    let again = begin_instance(&world, &id, "one", good.clone()).unwrap_err();
    assert_eq!(again.code, "DuplicateRequest");
    assert!(again.message.contains("Another operation of type REGISTER_INSTANCE"));
    let delete = || call::<op::DeleteService>(&world, json!({"Id": id}));
    assert_eq!(code(delete()), "ResourceInUse", "one is on its way");
    done(&world, begun);
    assert_eq!(code(delete()), "ResourceInUse");
    instance(&world, &id, "two", with("AWS_INIT_HEALTH_STATUS", Some("UNHEALTHY")));
    // The same id again is an update.
    instance(&world, &id, "one", with("version", Some("v2")));
    let get = |instance: &str| call::<op::GetInstance>(&world, json!({"ServiceId": id, "InstanceId": instance}));
    assert_eq!(get("one").unwrap().instance.unwrap().attributes.unwrap()["version"], "v2");
    assert_eq!(code(get("three")), "InstanceNotFound");
    let page = |token: Option<String>| {
        let input = json!({"ServiceId": id, "MaxResults": 1, "NextToken": token});
        call::<op::ListInstances>(&world, input).unwrap()
    };
    let first = page(None);
    assert_eq!(first.instances.unwrap()[0].id.as_deref(), Some("one"));
    let second = page(first.next_token);
    assert_eq!((second.instances.unwrap()[0].id.as_deref(), second.next_token), (Some("two"), None));
    let health = |more: serde_json::Value| {
        let mut input = json!({"ServiceId": id});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Ok::<_, ServiceError>(call::<op::GetInstancesHealthStatus>(&world, input)?.status.unwrap())
    };
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(id, health)| ((*id).to_owned(), (*health).to_owned())).collect()
    };
    assert_eq!(health(json!({})).unwrap(), pairs(&[("one", "HEALTHY"), ("two", "UNHEALTHY")]));
    assert_eq!(health(json!({"Instances": ["two"]})).unwrap(), pairs(&[("two", "UNHEALTHY")]));
    assert_eq!(code(health(json!({"Instances": ["three"]}))), "InstanceNotFound");

    let leave =
        |instance: &str| call::<op::DeregisterInstance>(&world, json!({"ServiceId": id, "InstanceId": instance}));
    assert_eq!(code(leave("three")), "InstanceNotFound");
    let begun = leave("one").unwrap().operation_id;
    assert_eq!(code(leave("one")), "DuplicateRequest");
    let shown = operation(&world, begun.clone());
    assert_eq!(shown.targets.unwrap(), pairs(&[("INSTANCE", "one"), ("SERVICE", &id), ("NAMESPACE", &namespace)]));
    done(&world, begun);
    done(&world, leave("two").unwrap().operation_id);
    delete().unwrap();
    assert_eq!(code(delete()), "ServiceNotFound");
    let left = world
        .platform
        .store
        .read(|tx| Ok::<_, crate::store::StoreError>((tx.all::<Service>()?, tx.all::<Instance>()?)));
    assert_eq!(left.unwrap(), (vec![], vec![]));
}

#[test]
fn discovery_follows_health_and_attributes() {
    let world = world();
    let namespace = private(&world, "board.local", "vpc-1");
    let id = service(&world, &namespace, "posts", &["A"], custom()).unwrap().id.unwrap();
    for (instance, version) in [("a", "v1"), ("b", "v1"), ("c", "v2")] {
        let attributes = json!({"AWS_INSTANCE_IPV4": "198.19.128.1", "version": version});
        self::instance(&world, &id, instance, attributes);
    }
    let revision = || {
        let input = json!({"NamespaceName": "board.local", "ServiceName": "posts"});
        call::<op::DiscoverInstancesRevision>(&world, input).unwrap().instances_revision.unwrap()
    };
    let before = revision();
    let say = |instance: &str, status: &str| {
        let input = json!({"ServiceId": id, "InstanceId": instance, "Status": status});
        call::<op::UpdateInstanceCustomHealthStatus>(&world, input)
    };
    say("a", "UNHEALTHY").unwrap();
    assert!(revision() > before);
    let ask = |more| discover(&world, more).unwrap();
    assert_eq!(ask(json!({})), set(&["b", "c"]));
    assert_eq!(ask(json!({"HealthStatus": "HEALTHY"})), set(&["b", "c"]));
    assert_eq!(ask(json!({"HealthStatus": "UNHEALTHY"})), set(&["a"]));
    assert_eq!(ask(json!({"HealthStatus": "ALL"})), set(&["a", "b", "c"]));
    assert_eq!(ask(json!({"QueryParameters": {"version": "v1"}})), set(&["b"]));
    assert_eq!(ask(json!({"OptionalParameters": {"version": "v2"}})), set(&["c"]));
    assert_eq!(ask(json!({"OptionalParameters": {"version": "v9"}})), set(&["b", "c"]), "ignored where none matches");
    assert_eq!(ask(json!({"QueryParameters": {"version": "v9"}})), set(&[]));
    assert_eq!(ask(json!({"MaxResults": 1})).len(), 1);
    for instance in ["b", "c"] {
        say(instance, "UNHEALTHY").unwrap();
    }
    assert_eq!(ask(json!({"HealthStatus": "HEALTHY_OR_ELSE_ALL"})), set(&["a", "b", "c"]));
    assert_eq!(ask(json!({"HealthStatus": "HEALTHY"})), set(&[]));
    assert_eq!(code(say("x", "HEALTHY")), "InstanceNotFound");
    assert_eq!(code(discover(&world, json!({"NamespaceName": "x"}))), "NamespaceNotFound");
    assert_eq!(code(discover(&world, json!({"ServiceName": "x"}))), "ServiceNotFound");
    assert_eq!(code(discover(&world, json!({"OwnerAccount": "111111111111"}))), "NamespaceNotFound");

    let plain = service(&world, &namespace, "plain", &["A"], json!({})).unwrap().id.unwrap();
    self::instance(&world, &plain, "p", json!({"AWS_INSTANCE_IPV4": "198.19.128.1"}));
    let input = json!({"ServiceId": plain, "InstanceId": "p", "Status": "UNHEALTHY"});
    assert_eq!(code(call::<op::UpdateInstanceCustomHealthStatus>(&world, input)), "CustomHealthNotFound");
    let found = call::<op::DiscoverInstances>(
        &world,
        json!({"NamespaceName": "board.local", "ServiceName": "plain", "HealthStatus": "UNHEALTHY"}),
    );
    let found = found.unwrap().instances.unwrap();
    assert_eq!(
        found[0].health_status.as_deref(),
        Some("UNKNOWN"),
        "without a health check the filter counts for nothing"
    );
}

#[test]
fn an_http_namespace_takes_ec2_instances() {
    let world = World::new(|operations| {
        register(operations);
        operations.serve::<quarry_aws::ec2::op::DescribeInstances>(|_, input| {
            let instances = input.instance_ids.unwrap_or_default().into_iter().filter(|id| id == "i-1");
            let instances = instances.map(|id| quarry_aws::ec2::Instance {
                instance_id: Some(id),
                private_ip_address: Some("10.0.0.7".into()),
                ..Default::default()
            });
            let reservation =
                quarry_aws::ec2::Reservation { instances: Some(instances.collect()), ..Default::default() };
            Ok(quarry_aws::ec2::DescribeInstancesResult { reservations: Some(vec![reservation]), ..Default::default() })
        });
    });
    let namespace = http(&world, "board.local");
    let id = service(&world, &namespace, "posts", &[], json!({})).unwrap().id.unwrap();
    instance(&world, &id, "one", json!({"AWS_EC2_INSTANCE_ID": "i-1"}));
    let shown = call::<op::GetInstance>(&world, json!({"ServiceId": id, "InstanceId": "one"})).unwrap();
    assert_eq!(shown.instance.unwrap().attributes.unwrap()["AWS_INSTANCE_IPV4"], "10.0.0.7");
    assert_eq!(discover(&world, json!({})).unwrap(), set(&["one"]));
    for bad in [json!({"AWS_EC2_INSTANCE_ID": "i-2"}), json!({"AWS_EC2_INSTANCE_ID": "i-1", "x": "y"})] {
        assert_eq!(code(begin_instance(&world, &id, "two", bad)), "InvalidInput");
    }
    assert!(names(&world).is_empty());
}

#[test]
fn names_answer_the_healthy_or_all() {
    let world = world();
    let namespace = private(&world, "Board.local", "vpc-1");
    let id = service(&world, &namespace, "posts", &["A", "AAAA", "SRV"], custom()).unwrap().id.unwrap();
    assert_eq!(names(&world)["posts.board.local"].len(), 3, "a service has its name before it has instances");
    for n in 1..=2 {
        let attributes = json!({"AWS_INSTANCE_IPV4": format!("198.19.128.{n}"), "AWS_INSTANCE_IPV6": format!("fd00::{n}"),
            "AWS_INSTANCE_PORT": (3000 + n).to_string()});
        instance(&world, &id, &format!("T{n}"), attributes);
    }
    let addresses = || names(&world)["posts.board.local"][0].addresses.clone();
    let [one, two] = [1, 2].map(|n| Ipv4Addr::new(198, 19, 128, n));
    assert_eq!(addresses(), [one, two]);
    let all = names(&world);
    let [_, six, srv] = &all["posts.board.local"][..] else { panic!("{all:?}") };
    assert_eq!((six.addresses6.len(), srv.services.len()), (2, 2));
    assert_eq!((srv.services[0].port, srv.services[0].target.as_str()), (3001, "t1.posts.board.local"));
    assert_eq!((srv.ttl, srv.most, srv.vpc.as_deref()), (10, Some(8), Some("vpc-1")));
    assert_eq!(all["t1.posts.board.local"][0].addresses, [one]);
    let say = |instance: &str, status: &str| {
        let input = json!({"ServiceId": id, "InstanceId": instance, "Status": status});
        call::<op::UpdateInstanceCustomHealthStatus>(&world, input).unwrap();
    };
    say("T1", "UNHEALTHY");
    assert_eq!(addresses(), [two]);
    say("T2", "UNHEALTHY");
    assert_eq!(addresses(), [one, two]);
    say("T1", "HEALTHY");
    assert_eq!(addresses(), [one]);

    let weighted = json!({"RoutingPolicy": "WEIGHTED"});
    let cname = service(&world, &namespace, "db", &["CNAME"], weighted.clone()).unwrap().id.unwrap();
    instance(&world, &cname, "c", json!({"AWS_INSTANCE_CNAME": "Posts.Board.local"}));
    let all = names(&world);
    assert_eq!(
        (all["db.board.local"][0].canonical.join(""), all["db.board.local"][0].most),
        ("posts.board.local".into(), Some(1))
    );

    let web = service(&world, &namespace, "web", &["A"], weighted).unwrap().id.unwrap();
    let plain = service(&world, &namespace, "multi", &["A"], json!({})).unwrap().id.unwrap();
    let refused = begin_instance(&world, &plain, "w", json!({"AWS_ALIAS_DNS_NAME": "x"})).unwrap_err();
    assert_eq!(refused.message, "ALIAS instance can be registered only in services with WEIGHTED routing policy");
    let unknown = begin_instance(&world, &web, "w", json!({"AWS_ALIAS_DNS_NAME": "nobody.test"})).unwrap();
    assert_eq!(failed(&world, unknown).0, "INVALID_CHANGE_BATCH");
    let balancer = elb::balancer(&world, "demo").dns_name.unwrap();
    instance(&world, &web, "w", json!({"AWS_ALIAS_DNS_NAME": format!("dualstack.{balancer}.")}));
    let records = records_with(&world, &balancer);
    let found = records.iter().find(|record| record.name == "web.board.local").unwrap();
    assert_eq!(found.addresses, [Ipv4Addr::new(198, 19, 1, 9)]);
}

#[test]
fn operations_are_listed_by_their_filters_and_survive_a_restart() {
    let world = world();
    let namespace = private(&world, "board.local", "vpc-1");
    let id = service(&world, &namespace, "posts", &["A"], json!({})).unwrap().id.unwrap();
    let begun = begin_instance(&world, &id, "one", json!({"AWS_INSTANCE_IPV4": "198.19.128.1"})).unwrap();
    let list = |filter: serde_json::Value| {
        let found = call::<op::ListOperations>(&world, json!({"Filters": [filter]}))?.operations.unwrap();
        Ok::<_, ServiceError>(found.len())
    };
    let now = world.platform.now_ms() / 1000;
    for (filter, expected) in [
        (json!({"Name": "STATUS", "Values": ["SUBMITTED"]}), 1),
        (json!({"Name": "STATUS", "Values": ["SUCCESS", "SUBMITTED"], "Condition": "IN"}), 2),
        (json!({"Name": "STATUS", "Values": ["SUCCEED"]}), 1),
        (json!({"Name": "TYPE", "Values": ["REGISTER_INSTANCE"]}), 1),
        (json!({"Name": "NAMESPACE_ID", "Values": [namespace]}), 2),
        (json!({"Name": "SERVICE_ID", "Values": [id]}), 1),
        (
            json!({"Name": "UPDATE_DATE", "Values": [(now - 1).to_string(), (now + 1).to_string()], "Condition": "BETWEEN"}),
            2,
        ),
        (json!({"Name": "UPDATE_DATE", "Values": ["0", "1"], "Condition": "BETWEEN"}), 0),
    ] {
        assert_eq!(list(filter.clone()).unwrap(), expected, "{filter}");
    }
    assert_eq!(
        code(list(json!({"Name": "UPDATE_DATE", "Values": ["x", "y"], "Condition": "BETWEEN"}))),
        "InvalidInput"
    );
    assert_eq!(code(list(json!({"Name": "TYPE", "Values": ["a", "b"]}))), "InvalidInput");
    assert_eq!(code(call::<op::GetOperation>(&world, json!({"OperationId": "gone"}))), "OperationNotFound");
    // A restart finds what was begun.
    let restarted = World::open(world.dir(), |operations| {
        register(operations);
        elb::fake_ec2(operations);
    });
    done(&restarted, begun);
    // What is finished is kept for a day.
    world.door.advance(std::time::Duration::from_secs(25 * 60 * 60));
    instance(&world, &id, "two", json!({"AWS_INSTANCE_IPV4": "198.19.128.2"}));
    assert_eq!(call::<op::ListOperations>(&world, json!({})).unwrap().operations.unwrap().len(), 1);
}

#[test]
fn tags_and_attributes_of_services() {
    let world = world();
    let namespace = private(&world, "board.local", "vpc-1");
    let made = service(&world, &namespace, "posts", &["A"], json!({"Tags": [{"Key": "a", "Value": "1"}]})).unwrap();
    let (id, arn) = (made.id.unwrap(), made.arn.unwrap());
    let tag =
        |arn: &str, tags: serde_json::Value| call::<op::TagResource>(&world, json!({"ResourceARN": arn, "Tags": tags}));
    tag(&arn, json!([{"Key": "b", "Value": "2"}])).unwrap();
    call::<op::UntagResource>(&world, json!({"ResourceARN": arn, "TagKeys": ["a"]})).unwrap();
    let tags = call::<op::ListTagsForResource>(&world, json!({"ResourceARN": arn})).unwrap().tags.unwrap();
    assert_eq!(tags, [aws::Tag { key: Some("b".into()), value: Some("2".into()) }]);
    let many: Vec<_> = (0..50).map(|n| json!({"Key": n.to_string(), "Value": ""})).collect();
    let refused = tag(&arn, json!(many)).unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.details["ResourceName"].as_str()),
        ("TooManyTagsException", Some(&*arn))
    );
    assert_eq!(code(tag(&arn, json!([{"Key": "aws:x", "Value": ""}]))), "InvalidInput");
    assert_eq!(
        code(tag("arn:aws:servicediscovery:us-east-1:000000000000:service/srv-x", json!([]))),
        "ResourceNotFoundException"
    );

    let update = |attributes: serde_json::Value| {
        call::<op::UpdateServiceAttributes>(&world, json!({"ServiceId": id, "Attributes": attributes}))
    };
    update(json!({"port": "80", "zone": "a"})).unwrap();
    call::<op::DeleteServiceAttributes>(&world, json!({"ServiceId": id, "Attributes": ["zone", "none"]})).unwrap();
    let shown =
        call::<op::GetServiceAttributes>(&world, json!({"ServiceId": arn})).unwrap().service_attributes.unwrap();
    assert_eq!(
        (shown.attributes.unwrap(), shown.service_arn),
        (BTreeMap::from([("port".into(), "80".into())]), Some(arn))
    );
    let many: BTreeMap<_, _> = (0..30).map(|n| (n.to_string(), "x")).collect();
    assert_eq!(code(update(json!(many))), "ServiceAttributesLimitExceededException");
}
