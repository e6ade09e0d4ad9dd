//! What the server's side of the protocols accepts and refuses, in AWS's words.

mod common;

use common::{form_call, headers, json_call, operation, post, post_to};
use http::{Method, Uri};
use quarry_aws::{cloudformation, ec2, ecs, elbv2, logs, ssm};
use quarry_wire::{Blob, Empty, Kind, Operation as _, Pattern, Protocol, Timestamp, Type, json, server, xml};
use std::collections::BTreeSet;

#[test]
fn numbers_sent_as_text_are_numbers() {
    let body = r#"{"family":"a","containerDefinitions":[{"name":"a","cpu":"256","memory":"512","essential":"true"}]}"#;
    let call = json_call("ecs", "RegisterTaskDefinition", body);
    assert!(call.is::<ecs::op::RegisterTaskDefinition>() && !call.is::<ecs::op::RunTask>());
    let input: ecs::RegisterTaskDefinitionRequest = call.input().expect("valid");
    let container = &input.container_definitions.expect("containers")[0];
    assert_eq!((container.cpu, container.memory, container.essential), (Some(256), Some(512), Some(true)));
}

#[test]
fn wrong_types_are_serialization_exceptions() {
    for (body, message) in [
        (r#"{"clusterName": 1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"tags": {}}"#, "START_OBJECT cannot be converted to List"),
        (r#"[]"#, "START_ARRAY cannot be converted to Structure"),
        (r#"{"clusterName""#, ""),
    ] {
        let call = json_call("ecs", "CreateCluster", body);
        let error = call.input::<ecs::CreateClusterRequest>().expect_err(body);
        assert_eq!((error.code.as_str(), error.status), ("SerializationException", 400));
        assert!(error.message.contains(message), "{}", error.message);
    }
    let call = json_call("ecs", "UpdateService", r#"{"service": "a", "desiredCount": 3000000000}"#);
    assert!(call.input::<ecs::UpdateServiceRequest>().is_err(), "outside 32 bits");
    let deep = format!("{}1{}", r#"{"a":["#.repeat(200), "]}".repeat(200));
    assert!(json_call("ecs", "CreateCluster", &deep).input::<ecs::CreateClusterRequest>().is_err());
}

#[test]
fn unknown_operations_get_each_protocols_answer() {
    let refusal = post(&[("x-amz-target", "AmazonEC2ContainerServiceV20141113.Fly")], b"{}").expect_err("unknown");
    assert_eq!((refusal.error.code.as_str(), refusal.error.status), ("UnknownOperationException", 400));
    let reply = refusal.reply("r");
    assert_eq!(reply.body, br#"{"__type":"UnknownOperationException"}"#);

    let refusal = post(&[], b"Action=Fly&Version=2010-05-15").expect_err("unknown");
    assert_eq!(refusal.error.code, "InvalidAction");
    assert_eq!(refusal.error.message, "Could not find operation Fly for version 2010-05-15");

    let refusal = post(&[], b"Action=Fly&Version=2016-11-15").expect_err("unknown");
    assert_eq!(refusal.protocol, Protocol::Ec2);
    assert_eq!(refusal.error.message, "The action Fly is not valid for this web service.");
    let text = String::from_utf8(refusal.reply("r").body).expect("text");
    assert!(text.contains("<Response><Errors><Error><Code>InvalidAction</Code>"), "{text}");
    assert!(text.contains("<RequestID>r</RequestID>"), "{text}");

    assert_eq!(post(&[], b"Version=2010-05-15").expect_err("nothing").error.code, "MissingAction");
    assert_eq!(post(&[], b"a=%zz").expect_err("not a form").error.code, "MalformedQueryString");
}

#[test]
fn a_form_goes_to_the_service_of_its_scope() {
    let scoped = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=A/20260131/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        )
    };
    let body = b"Action=DescribeTags&Version=2015-12-01&ResourceArns.member.1=a";
    let call = post(&[("authorization", &scoped("elasticloadbalancing"))], body).expect("known");
    assert_eq!(call.service.id, "elbv2");
    // The same action name belongs to three services; the scope decides.
    let refusal = post(&[("authorization", &scoped("autoscaling"))], body).expect_err("another version");
    assert_eq!(refusal.service.map(|s| s.id), Some("autoscaling"));
    let refusal = post(&[("authorization", &scoped("sqs"))], body).expect_err("not served");
    assert_eq!(refusal.error.code, "InvalidAction");
}

#[test]
fn a_get_carries_its_parameters_in_the_query() {
    let uri = Uri::from_static("/?Action=GetCallerIdentity&Version=2011-06-15");
    let call = server::identify(quarry_aws::SERVICES, &Method::GET, &uri, &headers(&[]), b"").expect("known");
    assert_eq!((call.service.id, call.operation.name), ("sts", "GetCallerIdentity"));
}

#[test]
fn missing_and_out_of_range_members_are_refused_in_the_services_words() {
    let error = form_call("Action=CreateChangeSet&Version=2010-05-15&StackName=")
        .input::<cloudformation::CreateChangeSetInput>()
        .expect_err("incomplete");
    assert_eq!((error.code.as_str(), error.status), ("ValidationError", 400));
    assert!(error.message.starts_with("3 validation errors detected: "), "{}", error.message);
    assert!(
        error.message.contains("Value null at 'changeSetName' failed to satisfy constraint: Member must not be null"),
        "{}",
        error.message
    );

    let error = json_call("logs", "DescribeLogGroups", r#"{"limit": 51}"#)
        .input::<logs::DescribeLogGroupsRequest>()
        .expect_err("too large");
    assert_eq!(error.code, "InvalidParameterException");
    assert_eq!(
        error.message,
        "1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: \
         Member must have value less than or equal to 50"
    );

    let error = json_call("ecs", "RunTask", r#"{"taskDefinition": "a", "launchType": "SPACESHIP"}"#)
        .input::<ecs::RunTaskRequest>()
        .expect_err("not in the set");
    assert_eq!(error.code, "InvalidParameterException");
    assert!(error.message.contains("Value 'SPACESHIP' at 'launchType' failed"), "{}", error.message);
    assert!(error.message.contains("Member must satisfy enum value set: ["), "{}", error.message);

    let error = json_call("ssm", "GetParameter", "{}").input::<ssm::GetParameterRequest>().expect_err("no name");
    assert_eq!(error.code, "ValidationException");

    let error = form_call("Action=DeleteVpc&Version=2016-11-15").input::<ec2::DeleteVpcRequest>().expect_err("no id");
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("MissingParameter", "The request must contain the parameter VpcId")
    );
    let error = form_call("Action=DescribeVpcs&Version=2016-11-15&MaxResults=many")
        .input::<ec2::DescribeVpcsRequest>()
        .expect_err("not a number");
    assert_eq!(error.code, "InvalidParameterValue");
    let error = form_call("Action=CreateRule&Version=2015-12-01&Priority=many")
        .input::<elbv2::CreateRuleInput>()
        .expect_err("not a number");
    assert_eq!(error.code, "MalformedInput");
}

#[test]
fn list_elements_keep_the_order_of_their_numbers() {
    let body = "Action=DescribeTags&Version=2015-12-01&ResourceArns.member.10=c&ResourceArns.member.2=b&ResourceArns.member.1=a";
    let input: elbv2::DescribeTagsInput = form_call(body).input().expect("valid");
    assert_eq!(input.resource_arns.expect("a list"), ["a", "b", "c"]);
    let body = "Action=DescribeTags&Version=2015-12-01&ResourceArns.member.x=c";
    assert!(form_call(body).input::<elbv2::DescribeTagsInput>().is_err());
}

#[test]
fn sensitive_members_are_not_printed() {
    let input = ssm::PutParameterRequest {
        name: Some("n".to_owned()),
        value: Some("the-secret".to_owned()),
        ..Default::default()
    };
    let text = format!("{input:?}");
    assert!(text.contains("\"n\"") && !text.contains("the-secret"), "{text}");
}

#[test]
fn shapes_are_serde_values() {
    let service = ecs::Service {
        service_name: Some("web".to_owned()),
        created_at: Some(Timestamp::from_millis(1_700_000_000_123)),
        events: Some(vec![ecs::ServiceEvent { id: Some("1".to_owned()), ..Default::default() }]),
        ..Default::default()
    };
    let text = serde_json::to_string(&service).expect("JSON");
    assert_eq!(text, r#"{"createdAt":1700000000.123,"events":[{"id":"1"}],"serviceName":"web"}"#);
    assert_eq!(serde_json::from_str::<ecs::Service>(&text).expect("a service"), service);
    assert_eq!(json::from_value::<ecs::Service>(&json::to_value(&service)).expect("a service"), service);
    assert_eq!(Blob(vec![1]).len(), 1);
}

#[test]
fn answers_without_an_output_are_empty() {
    let (service, model) = operation("logs", "CreateLogGroup");
    assert!(server::reply(service.protocol, service, model, &Empty::default(), "r").body.is_empty());
    let (service, model) = operation("cloudformation", "DeleteStack");
    let reply = server::reply(service.protocol, service, model, &Empty::default(), "r");
    assert_eq!(
        String::from_utf8(reply.body).expect("text"),
        "<DeleteStackResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DeleteStackResponse>\n"
    );
    let (service, model) = operation("ec2", "DeleteVpc");
    let body = server::reply(service.protocol, service, model, &Empty::default(), "r").body;
    assert!(String::from_utf8(body).expect("text").contains("<return>true</return>"));
}

#[test]
fn modelled_errors_have_their_code_and_status() {
    let error = ecs::error::cluster_not_found_exception("Cluster not found.");
    assert_eq!((error.code.as_str(), error.status), ("ClusterNotFoundException", 400));
    let error = elbv2::error::load_balancer_not_found_exception("x");
    assert_eq!((error.code.as_str(), error.status), ("LoadBalancerNotFound", 400));
    assert!(ecs::op::RunTask::model().errors.iter().any(|e| e.code == "ClusterNotFoundException"));
}

#[test]
fn dtds_entities_and_depth_are_refused_in_xml() {
    for text in [
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        "<a>&nbsp;</a>",
        "<a>&#x110000;</a>",
        "<a></b>",
        "<a/><b/>",
        "<a>",
        "",
    ] {
        assert!(xml::Node::parse(text).is_err(), "{text}");
    }
    let nested = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    assert!(xml::Node::parse(&nested).is_err());
    let node = xml::Node::parse("<a>&lt;&#65;&amp;<![CDATA[<x>]]></a>").expect("XML");
    assert_eq!(node.text, "<A&<x>");
}

#[test]
fn a_service_answers_in_the_protocol_of_the_request() {
    let form = b"Action=ListMetrics&Version=2010-08-01";
    let target = ("x-amz-target", "GraniteServiceVersion20100801.ListMetrics");
    let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
    let (service, model) = operation("cloudwatch", "ListMetrics");
    for (path, given, body, protocol, content_type) in [
        ("/", vec![], form.as_slice(), Protocol::Query, "text/xml"),
        ("/", vec![target], b"{}", Protocol::Json, "application/x-amz-json-1.0"),
        (path, vec![("smithy-protocol", "rpc-v2-cbor")], b"\xbf\xff", Protocol::Cbor, "application/cbor"),
    ] {
        let call = post_to(path, &given, body).expect("known");
        assert_eq!((call.operation.name, call.protocol), ("ListMetrics", protocol));
        let output = quarry_aws::cloudwatch::ListMetricsOutput::default();
        let reply = server::reply(call.protocol, service, model, &output, "r");
        assert!(reply.headers.contains(&("content-type", content_type.to_owned())), "{:?}", reply.headers);
    }
    let unknown = "/service/GraniteServiceVersion20100801/operation/Fly";
    let refusal = post_to(unknown, &[("smithy-protocol", "rpc-v2-cbor")], b"").expect_err("unknown");
    assert_eq!((refusal.protocol, refusal.error.code.as_str()), (Protocol::Cbor, "UnknownOperationException"));
}

#[test]
fn a_compressed_body_is_as_limited_as_a_plain_one() {
    use std::io::Write as _;
    let zip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    };
    let given = [("content-encoding", "gzip")];
    let body = zip(b"Action=ListMetrics&Version=2010-08-01&Namespace=a");
    let call = post(&given, &body).expect("known");
    let input: quarry_aws::cloudwatch::ListMetricsInput = call.input().expect("valid");
    assert_eq!(input.namespace.as_deref(), Some("a"));
    let bomb = zip(&vec![b'a'; server::MAX_FORM + 1]);
    assert_eq!(post(&given, &bomb).expect_err("too large").error.status, 413);
    assert_eq!(post(&given, b"plain").expect_err("not gzip").error.code, "SerializationException");
}

/// Every pattern that a member of an input can have.
fn patterns(ty: &'static Type, seen: &mut BTreeSet<*const Type>, found: &mut Vec<&'static Pattern>) {
    if !seen.insert(ty) {
        return;
    }
    found.extend(ty.pattern);
    let parts = match &ty.kind {
        Kind::List(element) => vec![element.ty],
        Kind::Map(key, value) => vec![key.ty, value.ty],
        Kind::Structure(schema) => schema.members.iter().map(|m| m.ty).collect(),
        _ => vec![],
    };
    parts.into_iter().for_each(|part| patterns(part, seen, found));
}

#[test]
fn every_pattern_is_understood_and_holds_for_the_whole_text() {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let operations = quarry_aws::SERVICES.iter().flat_map(|s| s.operations);
    for member in operations.flat_map(|o| o.input.members) {
        patterns(member.ty, &mut seen, &mut found);
    }
    assert!(found.len() > 50, "{}", found.len());
    for pattern in &found {
        assert!(pattern.is_sound(), "{pattern:?}");
    }
    let of = |source: &str| *found.iter().find(|p| p.source == source).unwrap_or_else(|| panic!("{source}"));
    for (source, good, bad) in [
        (r"[\w+=,.@-]+", "a-role_1@b", "a role"),
        (r"[\w+=,.@-]+", "x", "\u{fc}"),
        (r"^(?!arn:)[!-~]{1,1024}$", "team.local", "arn:aws:a"),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "\u{1f980} a\n", "\u{7}"),
    ] {
        assert!(of(source).matches(good), "{source}: {good}");
        assert!(!of(source).matches(bad), "{source}: {bad}");
    }
}

#[test]
fn what_does_not_match_is_refused_in_the_services_words() {
    let error = json_call("logs", "CreateLogGroup", r#"{"logGroupName": "a b"}"#)
        .input::<logs::CreateLogGroupRequest>()
        .expect_err("a blank");
    assert_eq!(error.code, "InvalidParameterException");
    assert_eq!(
        error.message,
        "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
    );
    let error = json_call("ecr", "CreateRepository", r#"{"repositoryName": "A"}"#)
        .input::<quarry_aws::ecr::CreateRepositoryRequest>()
        .expect_err("a capital");
    assert_eq!(error.code, "InvalidParameterException");
    assert!(
        error.message.starts_with("Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must "),
        "{}",
        error.message
    );
    let error = json_call("servicediscovery", "CreateHttpNamespace", r#"{"Name": "arn:x"}"#)
        .input::<quarry_aws::servicediscovery::CreateHttpNamespaceRequest>()
        .expect_err("an ARN");
    assert_eq!(error.code, "InvalidInput");
    let error = json_call("secretsmanager", "CreateSecret", "{}")
        .input::<quarry_aws::secretsmanager::CreateSecretRequest>()
        .expect_err("no name");
    assert_eq!(error.code, "ValidationException");
}
