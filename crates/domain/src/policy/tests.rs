//! Evaluation: AWS's published logic case by case, and by properties against a plain reading of it.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const ACCOUNT: &str = "000000000000";
const ROLE: &str = "arn:aws:iam::000000000000:role/team/api";
const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/api/s1";
const CLUSTER: &str = "arn:aws:ecs:us-east-1:000000000000:cluster/demo";

fn policy(statements: Value) -> Arc<Policy> {
    Arc::new(Policy::parse(&json!({"Version": "2012-10-17", "Statement": statements}).to_string()).unwrap())
}

fn allow(action: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": "*"})
}

fn deny(action: &str) -> Value {
    json!({"Effect": "Deny", "Action": action, "Resource": "*"})
}

fn session() -> Principal {
    Principal { account: ACCOUNT.into(), arn: SESSION.into(), role: Some(ROLE.into()), service: None }
}

fn decide(policies: &PolicySet) -> Decision {
    decide_for(&session(), policies)
}

fn decide_for(principal: &Principal, policies: &PolicySet) -> Decision {
    let context = Context::default();
    evaluate(&Request { principal, action: "ecs:RunTask", resource: CLUSTER, context: &context }, policies)
}

#[test]
fn the_published_evaluation_logic_within_an_account() {
    use Decision::{Allowed, Denied};
    use Denial::{Explicit, Implicit};
    use PolicyKind::{Boundary, Identity, Resource, Session};
    let run = || Some(policy(allow("ecs:RunTask")));
    let other = || Some(policy(allow("ecs:StopTask")));
    let no = || Some(policy(deny("ecs:*")));
    let both = || Some(policy(json!([allow("*"), deny("ecs:Run*")])));
    let resource = |effect: &str, principal: Value| {
        Some(policy(json!([{"Effect": effect, "Principal": principal, "Action": "ecs:RunTask"}])))
    };
    let to_role = || resource("Allow", json!({"AWS": ROLE}));
    let to_session = || resource("Allow", json!({"AWS": [SESSION]}));
    let to_account = || resource("Allow", json!({"AWS": "arn:aws:iam::000000000000:root"}));
    // Identity, boundary, session, resource.
    let cases = [
        (None, None, None, None, Denied(Implicit(Identity))),
        (run(), None, None, None, Allowed),
        (other(), None, None, None, Denied(Implicit(Identity))),
        (both(), None, None, None, Denied(Explicit(Identity))),
        (no(), None, None, to_session(), Denied(Explicit(Identity))),
        (run(), run(), None, None, Allowed),
        (run(), other(), None, None, Denied(Implicit(Boundary))),
        (run(), no(), None, None, Denied(Explicit(Boundary))),
        (None, run(), None, None, Denied(Implicit(Identity))),
        (run(), None, other(), None, Denied(Implicit(Session))),
        (run(), run(), run(), None, Allowed),
        (run(), None, both(), None, Denied(Explicit(Session))),
        (None, None, None, to_role(), Allowed),
        (None, None, None, resource("Allow", json!("*")), Allowed),
        (None, None, None, resource("Allow", json!({"AWS": "*"})), Allowed),
        (None, other(), None, to_role(), Denied(Implicit(Boundary))),
        (None, None, other(), to_role(), Denied(Implicit(Session))),
        (None, other(), other(), to_session(), Allowed),
        (None, None, None, to_account(), Denied(Implicit(Identity))),
        (run(), None, None, to_account(), Allowed),
        (None, None, None, resource("Allow", json!({"AWS": ACCOUNT})), Denied(Implicit(Identity))),
        (None, None, None, resource("Allow", json!({"AWS": "111111111111"})), Denied(Implicit(Identity))),
        (None, None, None, resource("Allow", json!({"Service": "ecs.amazonaws.com"})), Denied(Implicit(Identity))),
        (run(), None, None, resource("Deny", json!("*")), Denied(Explicit(Resource))),
        (run(), None, None, resource("Deny", json!({"AWS": ACCOUNT})), Denied(Explicit(Resource))),
        (run(), None, None, resource("Deny", json!({"AWS": "arn:aws:iam::000000000000:role/other"})), Allowed),
    ];
    for (at, (identity, boundary, session, resource, expected)) in cases.into_iter().enumerate() {
        let policies = PolicySet {
            identity: identity.into_iter().collect(),
            boundary,
            session: session.map(|one| vec![one]),
            resource,
            is_trust: false,
        };
        assert_eq!(decide(&policies), expected, "case {at}");
    }
}

#[test]
fn nobody_is_let_into_a_role_but_by_its_trust_policy() {
    let with = |statement: Value, identity: Vec<Arc<Policy>>| PolicySet {
        identity,
        resource: Some(policy(json!([statement]))),
        is_trust: true,
        ..Default::default()
    };
    let trust = |principal: Value| json!({"Effect": "Allow", "Principal": principal, "Action": "ecs:RunTask"});
    let any = || vec![policy(allow("*"))];
    let refused = Decision::Denied(Denial::Implicit(PolicyKind::Trust));
    assert_eq!(decide(&with(trust(json!({"Service": "ec2.amazonaws.com"})), any())), refused);
    assert_eq!(decide(&with(trust(json!({"AWS": ROLE})), vec![])), Decision::Allowed);
    assert_eq!(decide(&with(trust(json!({"AWS": ACCOUNT})), any())), Decision::Allowed);
    let by_identity = Decision::Denied(Denial::Implicit(PolicyKind::Identity));
    assert_eq!(decide(&with(trust(json!({"AWS": ACCOUNT})), vec![])), by_identity);
    let service = Principal { service: Some("ec2.amazonaws.com".into()), ..Default::default() };
    assert_eq!(decide_for(&service, &with(trust(json!({"Service": "ec2.amazonaws.com"})), vec![])), Decision::Allowed);
    assert_eq!(decide_for(&service, &with(trust(json!({"AWS": ACCOUNT})), vec![])), refused);
    // By what it leaves out.
    let but = |named: &str| json!({"Effect": "Deny", "NotPrincipal": {"AWS": [named]}, "Action": "*"});
    for (named, expected) in
        [(ROLE, Decision::Allowed), (ACCOUNT, Decision::Denied(Denial::Explicit(PolicyKind::Trust)))]
    {
        let resource = Some(policy(json!([trust(json!({"AWS": ROLE})), but(named)])));
        let policies = PolicySet { resource, is_trust: true, ..Default::default() };
        assert_eq!(decide(&policies), expected, "{named}");
    }
}

#[test]
fn actions_resources_and_variables() {
    let mut context = Context::default();
    context.set("aws:PrincipalTag/team", "shop");
    context.set("ecs:cluster", CLUSTER);
    let principal = session();
    let decided = |statement: Value, action: &str, resource: &str| {
        let policies = PolicySet { identity: vec![policy(json!([statement]))], ..Default::default() };
        evaluate(&Request { principal: &principal, action, resource, context: &context }, &policies)
            == Decision::Allowed
    };
    let task = "arn:aws:ecs:us-east-1:000000000000:task/demo/1";
    let one = |element: &str, value: Value, resource: &str, pattern: Value| json!({"Effect": "Allow", element: value, resource: pattern});
    assert!(decided(one("Action", json!("ECS:stop*"), "Resource", json!("*")), "ecs:StopTask", task));
    assert!(decided(one("NotAction", json!(["iam:*"]), "Resource", json!("*")), "ecs:StopTask", task));
    assert!(!decided(one("NotAction", json!(["ecs:S*"]), "Resource", json!("*")), "ecs:StopTask", task));
    assert!(decided(one("Action", json!("*"), "NotResource", json!([CLUSTER])), "ecs:StopTask", task));
    assert!(!decided(one("Action", json!("*"), "NotResource", json!(["arn:aws:ecs:*"])), "ecs:StopTask", task));
    assert!(!decided(one("Action", json!("*"), "Resource", json!("arn:aws:ecs:*:*:task/*")), "ecs:ListTasks", "*"));
    let tagged = json!("arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}/*");
    let parameter = "arn:aws:ssm:us-east-1:000000000000:parameter/shop/url";
    assert!(decided(one("Action", json!("ssm:*"), "Resource", tagged.clone()), "ssm:GetParameter", parameter));
    assert!(!decided(
        one("Action", json!("ssm:*"), "Resource", tagged),
        "ssm:GetParameter",
        &parameter.replace("shop", "x")
    ));
    let mut when = one("Action", json!("ecs:*"), "Resource", json!("*"));
    when["Condition"] = json!({"ArnEquals": {"ecs:Cluster": CLUSTER}});
    assert!(decided(when.clone(), "ecs:StopTask", task));
    when["Condition"]["StringEquals"] = json!({"aws:RequestTag/a": "b"});
    assert!(!decided(when.clone(), "ecs:StopTask", task), "all conditions must hold");
    let asked = policy(json!([when, {"Effect": "Allow", "Action": "a:b", "Resource": "${aws:userid}"}]));
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["aws:requesttag/a", "aws:userid", "ecs:cluster"]);
    assert!(asked.asks_for("aws:requesttag/") && !asked.asks_for("aws:resourcetag/"));
}

#[test]
fn what_is_no_policy() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"Statement":[1]}"#,
        r#"{"Version":"2020-01-01","Statement":[]}"#,
        r#"{"Statement":[],"Extra":1}"#,
        r#"{"Statement":{"Effect":"allow","Action":"a:b","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","NotAction":"a:c","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":[1],"Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Equal":{"k":"v"}}}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Bool":{"k":{}}}}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Principal":{"Robot":"x"}}}"#,
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Principal":"x"}}"#,
    ] {
        assert!(Policy::parse(bad).is_err(), "{bad}");
    }
    let nothing = PolicySet { identity: vec![policy(allow("*")), Arc::new(Policy::deny_all())], ..Default::default() };
    assert_eq!(decide(&nothing), Decision::Denied(Denial::Explicit(PolicyKind::Identity)));
    let reason = Denial::Implicit(PolicyKind::Boundary).reason("ecs:RunTask");
    assert_eq!(reason, "because no permissions boundary allows the ecs:RunTask action");
}

const ACTIONS: [&str; 4] = ["a:x", "a:y", "b:x", "b:y"];
const RESOURCES: [&str; 3] = ["arn:aws:a:r:0:t/1", "arn:aws:a:r:0:t/2", "*"];

/// A statement as a value, and its plain reading.
fn statements() -> impl Strategy<Value = Vec<Value>> {
    let actions = prop::sample::select(vec!["a:x", "a:*", "*", "b:?", "B:Y", "a:y"]);
    let resources = prop::sample::select(vec!["*", "arn:aws:a:r:0:t/1", "arn:aws:a:*:*:t/*", "arn:aws:b:*"]);
    let one = (any::<bool>(), any::<bool>(), actions, any::<bool>(), resources, 0..3u8).prop_map(
        |(allow, not_action, action, not_resource, resource, condition)| {
            let mut statement = json!({
                "Effect": if allow { "Allow" } else { "Deny" },
                (if not_action { "NotAction" } else { "Action" }): action,
                (if not_resource { "NotResource" } else { "Resource" }): [resource],
            });
            match condition {
                0 => {}
                1 => statement["Condition"] = json!({"StringEquals": {"k": "v"}}),
                _ => statement["Condition"] = json!({"StringNotEquals": {"k": "v"}}),
            }
            statement
        },
    );
    prop::collection::vec(one, 0..5)
}

/// The plain reading: patterns as the few that there are mean, effects one by one.
fn naive(statements: &[Value], action: &str, resource: &str, key: Option<&str>, effect: &str) -> bool {
    statements.iter().any(|statement| {
        let like = |pattern: &str, text: &str| match pattern {
            "*" => true,
            "arn:aws:a:*:*:t/*" => text.starts_with("arn:aws:a:"),
            "arn:aws:b:*" => text.starts_with("arn:aws:b:"),
            "a:*" => text.starts_with("a:"),
            "b:?" => text.starts_with("b:"),
            exact => exact.eq_ignore_ascii_case(text),
        };
        let element = |one: &str, not: &str, text: &str| match (statement.get(one), statement.get(not)) {
            (Some(Value::String(pattern)), _) => like(pattern, text),
            (_, Some(Value::String(pattern))) => !like(pattern, text),
            (Some(Value::Array(patterns)), _) => like(patterns[0].as_str().unwrap(), text),
            (_, Some(Value::Array(patterns))) => !like(patterns[0].as_str().unwrap(), text),
            _ => unreachable!(),
        };
        let condition = match statement.get("Condition").map(Value::to_string) {
            None => true,
            Some(text) if text.contains("StringEquals") => key == Some("v"),
            Some(_) => key != Some("v"),
        };
        statement["Effect"] == effect
            && element("Action", "NotAction", action)
            && element("Resource", "NotResource", resource)
            && condition
    })
}

fn allowed(identity: &[Value], boundary: Option<&[Value]>, action: &str, resource: &str, key: Option<&str>) -> bool {
    let mut context = Context::default();
    if let Some(key) = key {
        context.set("k", key);
    }
    let compiled = |statements: &[Value]| policy(json!(statements));
    let policies =
        PolicySet { identity: vec![compiled(identity)], boundary: boundary.map(compiled), ..Default::default() };
    let principal = session();
    evaluate(&Request { principal: &principal, action, resource, context: &context }, &policies) == Decision::Allowed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn evaluation_agrees_with_its_plain_reading(
        identity in statements(),
        boundary in prop::option::of(statements()),
        extra in statements(),
        action in prop::sample::select(ACTIONS.to_vec()),
        resource in prop::sample::select(RESOURCES.to_vec()),
        key in prop::option::of(prop::sample::select(vec!["v", "w"])),
    ) {
        let says = |statements: &[Value], effect| naive(statements, action, resource, key, effect);
        let bound = boundary.as_deref().unwrap_or(&[]);
        let expected = says(&identity, "Allow") && !says(&identity, "Deny") && !says(bound, "Deny")
            && boundary.as_ref().is_none_or(|boundary| says(boundary, "Allow"));
        let decided = allowed(&identity, boundary.as_deref(), action, resource, key);
        prop_assert_eq!(decided, expected);

        // Another statement that allows takes nothing away, and one that denies gives nothing.
        let with = |effect: &str| {
            let of = extra.iter().filter(|s| s["Effect"] == effect).cloned();
            let grown: Vec<Value> = identity.iter().cloned().chain(of).collect();
            allowed(&grown, boundary.as_deref(), action, resource, key)
        };
        prop_assert!(!decided || with("Allow"));
        prop_assert!(decided || !with("Deny"));
        // The order of statements does not matter.
        let turned: Vec<Value> = identity.iter().rev().cloned().collect();
        prop_assert_eq!(allowed(&turned, boundary.as_deref(), action, resource, key), decided);
    }
}
