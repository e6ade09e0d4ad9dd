//! Every attribute that AWS documents for Application Load Balancers, their listeners and target groups: it acts
//! (the proxy is told something else), its values mean the same here, or it is refused.

use super::tests::{balancer, forward, group, listener, listener_input, refused, world_with};
use crate::acm;
use crate::link::builder;
use crate::testing::World;
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::snapshot::Snapshot;
use quarry_wire::ServiceError;

/// What a value other than AWS's default comes to.
enum Comes {
    /// The proxy is told something else, after these settings that it needs.
    Acts(&'static [(&'static str, &'static str)]),
    /// It is kept and shown, and what it asks for is what is done anyway.
    Same,
    /// It changes what the API does, not the proxy.
    Guards,
    Refused,
}

use Comes::{Acts, Guards, Refused, Same};

const LOG_TO: &[(&str, &str)] = &[("access_logs.s3.bucket", "logs-of-demo")];
const LOGS: &[(&str, &str)] = &[("access_logs.s3.bucket", "logs-of-demo"), ("access_logs.s3.enabled", "true")];
const CONNECTIONS_TO: &[(&str, &str)] = &[("connection_logs.s3.bucket", "logs-of-demo")];
const CONNECTIONS: &[(&str, &str)] =
    &[("connection_logs.s3.bucket", "logs-of-demo"), ("connection_logs.s3.enabled", "true")];
const STICKY: &[(&str, &str)] = &[("stickiness.enabled", "true")];
const STICKY_APP: &[(&str, &str)] = &[
    ("stickiness.enabled", "true"),
    ("stickiness.type", "app_cookie"),
    ("stickiness.app_cookie.cookie_name", "session"),
];

const LOAD_BALANCER: &[(&str, &str, Comes)] = &[
    ("access_logs.s3.bucket", "another-bucket", Acts(LOGS)),
    ("access_logs.s3.enabled", "true", Acts(LOG_TO)),
    ("access_logs.s3.prefix", "my/app", Acts(LOGS)),
    ("client_keep_alive.seconds", "60", Acts(&[])),
    ("connection_logs.s3.bucket", "another-bucket", Acts(CONNECTIONS)),
    ("connection_logs.s3.enabled", "true", Acts(CONNECTIONS_TO)),
    ("connection_logs.s3.prefix", "my/app", Acts(CONNECTIONS)),
    ("deletion_protection.enabled", "true", Guards),
    ("health_check_logs.s3.bucket", "another-bucket", Refused),
    ("health_check_logs.s3.enabled", "true", Refused),
    ("health_check_logs.s3.prefix", "my/app", Refused),
    ("idle_timeout.timeout_seconds", "1", Acts(&[])),
    ("ipv6.deny_all_igw_traffic", "true", Refused),
    ("load_balancing.cross_zone.enabled", "false", Refused),
    ("routing.http.desync_mitigation_mode", "monitor", Acts(&[])),
    ("routing.http.drop_invalid_header_fields.enabled", "true", Acts(&[])),
    ("routing.http.preserve_host_header.enabled", "true", Acts(&[])),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "true", Acts(&[])),
    ("routing.http.xff_client_port.enabled", "true", Acts(&[])),
    ("routing.http.xff_header_processing.mode", "remove", Acts(&[])),
    ("routing.http2.enabled", "false", Acts(&[])),
    ("waf.fail_open.enabled", "true", Refused),
    ("zonal_shift.config.enabled", "true", Refused),
    // Of other kinds of load balancers.
    ("dns_record.client_routing_policy", "any_availability_zone", Refused),
    ("secondary_ips.auto_assigned.per_subnet", "1", Refused),
];

const TARGET_GROUP: &[(&str, &str, Comes)] = &[
    ("deregistration_delay.timeout_seconds", "0", Acts(&[])),
    ("load_balancing.algorithm.anomaly_mitigation", "on", Refused),
    ("load_balancing.algorithm.type", "weighted_random", Acts(&[])),
    ("load_balancing.cross_zone.enabled", "true", Same),
    ("load_balancing.cross_zone.enabled", "false", Refused),
    ("slow_start.duration_seconds", "30", Acts(&[])),
    ("stickiness.app_cookie.cookie_name", "other", Acts(STICKY_APP)),
    ("stickiness.app_cookie.duration_seconds", "60", Acts(STICKY_APP)),
    ("stickiness.enabled", "true", Acts(&[])),
    ("stickiness.lb_cookie.duration_seconds", "60", Acts(STICKY)),
    ("stickiness.type", "app_cookie", Acts(&[("stickiness.app_cookie.cookie_name", "session"), STICKY[0]])),
    ("stickiness.type", "source_ip", Refused),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "2", Same),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "50", Same),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "2", Acts(&[])),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "50", Acts(&[])),
    // Of other kinds of load balancers and of functions.
    ("deregistration_delay.connection_termination.enabled", "true", Refused),
    ("lambda.multi_value_headers.enabled", "true", Refused),
    ("preserve_client_ip.enabled", "true", Refused),
    ("proxy_protocol_v2.enabled", "true", Refused),
    ("target_failover.on_deregistration", "rebalance", Refused),
    ("target_failover.on_unhealthy", "rebalance", Refused),
    ("target_health_state.unhealthy.connection_termination.enabled", "false", Refused),
    ("target_health_state.unhealthy.draining_interval_seconds", "1", Refused),
];

const LISTENER: &[(&str, &str, Comes)] = &[
    ("routing.http.request.x_amzn_mtls_clientcert.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_mtls_clientcert_issuer.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_mtls_clientcert_subject.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_mtls_clientcert_validity.header_name", "X-Other", Refused),
    ("routing.http.request.x_amzn_tls_cipher_suite.header_name", "X-Other", Acts(&[])),
    ("routing.http.request.x_amzn_tls_version.header_name", "X-Other", Acts(&[])),
    ("routing.http.response.access_control_allow_credentials.header_value", "true", Acts(&[])),
    ("routing.http.response.access_control_allow_headers.header_value", "X-A", Acts(&[])),
    ("routing.http.response.access_control_allow_methods.header_value", "GET,POST", Acts(&[])),
    ("routing.http.response.access_control_allow_origin.header_value", "https://a.example", Acts(&[])),
    ("routing.http.response.access_control_expose_headers.header_value", "X-A", Acts(&[])),
    ("routing.http.response.access_control_max_age.header_value", "60", Acts(&[])),
    ("routing.http.response.content_security_policy.header_value", "default-src 'self'", Acts(&[])),
    ("routing.http.response.server.enabled", "false", Acts(&[])),
    ("routing.http.response.strict_transport_security.header_value", "max-age=60", Acts(&[])),
    ("routing.http.response.x_content_type_options.header_value", "nosniff", Acts(&[])),
    ("routing.http.response.x_frame_options.header_value", "DENY", Acts(&[])),
    ("tcp.idle_timeout.seconds", "60", Refused),
];

type Settings = Vec<(String, String)>;
type Set<'a> = &'a dyn Fn(&[(&str, &str)]) -> Result<Settings, ServiceError>;

fn told(world: &World) -> Snapshot {
    let build = |tx: &crate::store::Tx<'_>| builder::build(tx, &world.platform.config);
    world.platform.store.read(build).unwrap()
}

/// Goes through a table: `set` sets attributes by one request and returns all of them; none is set at first.
fn check(world: &World, table: &[(&str, &str, Comes)], set: Set<'_>, show: &dyn Fn() -> Settings) {
    let defaults = show();
    let default = |key: &str| defaults.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value).to_owned();
    for (key, _) in &defaults {
        assert!(table.iter().any(|(listed, ..)| listed == key), "{key} is shown and not listed");
        set(&[(key, &default(key))]).unwrap_or_else(|error| panic!("the default of {key}: {error:?}"));
    }
    assert_eq!(show(), defaults);
    for (key, value, comes) in table {
        let before = told(world);
        let needs: &[(&str, &str)] = if let Acts(needs) = comes { needs } else { &[] };
        if !needs.is_empty() {
            set(needs).unwrap();
        }
        let prepared = told(world);
        let outcome = set(&[(key, value)]);
        match comes {
            Refused => {
                refused(outcome, "ValidationError", "");
                assert_eq!((told(world), show()), (before.clone(), defaults.clone()), "{key} changed something");
            }
            Acts(_) => {
                assert!(outcome.unwrap().contains(&((*key).to_owned(), (*value).to_owned())), "{key} is not shown");
                assert_ne!(told(world), prepared, "{key} is stored and ignored");
            }
            Same | Guards => {
                assert!(outcome.unwrap().contains(&((*key).to_owned(), (*value).to_owned())), "{key} is not shown");
                assert_eq!(told(world), prepared, "{key}");
            }
        }
        if !matches!(comes, Refused) {
            let changed: Vec<(&str, String)> =
                std::iter::once(*key).chain(needs.iter().map(|(key, _)| *key)).map(|key| (key, default(key))).collect();
            let back: Vec<(&str, &str)> = changed.iter().map(|(key, value)| (*key, value.as_str())).collect();
            set(&back).unwrap_or_else(|error| panic!("{key} back to its default: {error:?}"));
            assert_eq!((told(world), show()), (before, defaults.clone()), "{key} is back");
        }
    }
}

fn load_balancer_settings(all: Option<Vec<aws::LoadBalancerAttribute>>) -> Settings {
    all.unwrap().into_iter().map(|a| (a.key.unwrap(), a.value.unwrap())).collect()
}

#[test]
fn of_load_balancers() {
    let world = world_with(|_| ());
    let demo = balancer(&world, "demo");
    listener(&world, &demo, &group(&world, "api"));
    let arn = demo.load_balancer_arn;
    let set = |wanted: &[(&str, &str)]| {
        let one = |(key, value): &(&str, &str)| aws::LoadBalancerAttribute {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        let input = aws::ModifyLoadBalancerAttributesInput {
            load_balancer_arn: arn.clone(),
            attributes: Some(wanted.iter().map(one).collect()),
        };
        Ok(load_balancer_settings(world.call::<op::ModifyLoadBalancerAttributes>(input)?.attributes))
    };
    let show = || {
        let input = aws::DescribeLoadBalancerAttributesInput { load_balancer_arn: arn.clone() };
        load_balancer_settings(world.call::<op::DescribeLoadBalancerAttributes>(input).unwrap().attributes)
    };
    check(&world, LOAD_BALANCER, &set, &show);
    refused(set(&[("access_logs.s3.enabled", "true")]), "ValidationError", "access_logs.s3.bucket");
    for (key, value) in [
        ("access_logs.s3.bucket", "../etc"),
        ("access_logs.s3.bucket", "Up"),
        ("access_logs.s3.bucket", "a..b"),
        ("access_logs.s3.prefix", "a/../../b"),
        ("access_logs.s3.prefix", "x/AWSLogs"),
        ("access_logs.s3.prefix", "a//b"),
        ("access_logs.s3.enabled", "yes"),
    ] {
        refused(set(&[(key, value)]), "ValidationError", value);
    }
}

#[test]
fn of_target_groups() {
    let world = world_with(|_| ());
    let arn = group(&world, "api");
    let settings = |all: Option<Vec<aws::TargetGroupAttribute>>| -> Settings {
        all.unwrap().into_iter().map(|a| (a.key.unwrap(), a.value.unwrap())).collect()
    };
    let set = |wanted: &[(&str, &str)]| {
        let one = |(key, value): &(&str, &str)| aws::TargetGroupAttribute {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        let input = aws::ModifyTargetGroupAttributesInput {
            target_group_arn: Some(arn.clone()),
            attributes: Some(wanted.iter().map(one).collect()),
        };
        Ok(settings(world.call::<op::ModifyTargetGroupAttributes>(input)?.attributes))
    };
    let show = || {
        let input = aws::DescribeTargetGroupAttributesInput { target_group_arn: Some(arn.clone()) };
        settings(world.call::<op::DescribeTargetGroupAttributes>(input).unwrap().attributes)
    };
    check(&world, TARGET_GROUP, &set, &show);
}

#[test]
fn of_listeners() {
    let world = world_with(acm::register);
    let demo = balancer(&world, "demo");
    let api = group(&world, "api");
    let mut input = listener_input(&demo, 443, forward(&api));
    input.protocol = Some("HTTPS".into());
    let certificate = aws::Certificate { certificate_arn: Some(acm::tests::import(&world)), is_default: None };
    input.certificates = Some(vec![certificate]);
    let made = world.call::<op::CreateListener>(input).unwrap().listeners.unwrap().remove(0);
    let settings = |all: Option<Vec<aws::ListenerAttribute>>| -> Settings {
        all.unwrap().into_iter().map(|a| (a.key.unwrap(), a.value.unwrap())).collect()
    };
    let set_of = |arn: Option<String>, wanted: &[(&str, &str)]| {
        let one = |(key, value): &(&str, &str)| aws::ListenerAttribute {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        let input = aws::ModifyListenerAttributesInput {
            listener_arn: arn,
            attributes: Some(wanted.iter().map(one).collect()),
        };
        Ok(settings(world.call::<op::ModifyListenerAttributes>(input)?.attributes))
    };
    let show = || {
        let input = aws::DescribeListenerAttributesInput { listener_arn: made.listener_arn.clone() };
        settings(world.call::<op::DescribeListenerAttributes>(input).unwrap().attributes)
    };
    let set = |wanted: &[(&str, &str)]| set_of(made.listener_arn.clone(), wanted);
    check(&world, LISTENER, &set, &show);
    for (key, value) in [
        ("routing.http.request.x_amzn_tls_version.header_name", "a b"),
        ("routing.http.request.x_amzn_tls_version.header_name", "X-Forwarded-For"),
        ("routing.http.response.x_frame_options.header_value", "ALLOWALL"),
        ("routing.http.response.access_control_max_age.header_value", "soon"),
        ("routing.http.response.content_security_policy.header_value", "a\r\nSet-Cookie: b"),
        ("routing.http.response.server.enabled", "no"),
    ] {
        refused(set(&[(key, value)]), "ValidationError", key);
    }
    let plain = Some(listener(&world, &demo, &api));
    let key = "routing.http.request.x_amzn_tls_version.header_name";
    refused(set_of(plain, &[(key, "X-Other")]), "ValidationError", "HTTPS listeners only");
}
