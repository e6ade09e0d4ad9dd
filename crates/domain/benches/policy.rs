//! What the evaluation of policies costs a call, without reading records: `cargo bench -p quarry-domain --bench policy`.

use quarry_domain::policy::{Context, Decision, Policy, PolicySet, Principal, Request, evaluate};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: u32 = 200_000;

/// A role's usual policies: broad, of one service, with conditions, with variables, and one that denies.
const IDENTITY: [&str; 5] = [
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:Get*","ecr:BatchGetImage","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}"#,
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:service/demo/*","Condition":{"StringEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]},"Bool":{"aws:SecureTransport":"false"}}}]}"#,
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","ssm:GetParameters"],"Resource":["arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/team}/*","arn:aws:ssm:*:*:parameter/shop/*"]}]}"#,
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["elasticloadbalancing:Describe*","ec2:Describe*","cloudwatch:*","autoscaling:*","iam:Get*","iam:List*"],"Resource":"*"}]}"#,
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["ecs:DeleteCluster","iam:*Policy"],"Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}]}"#,
];

fn main() {
    let compiled = |text: &&str| Arc::new(Policy::parse(text).unwrap());
    let policies = PolicySet {
        identity: IDENTITY.iter().map(compiled).collect(),
        boundary: Some(compiled(&IDENTITY[1])),
        ..Default::default()
    };
    let principal = Principal {
        account: "000000000000".into(),
        arn: "arn:aws:sts::000000000000:assumed-role/api/s1".into(),
        role: Some("arn:aws:iam::000000000000:role/api".into()),
        service: None,
    };
    let resource = "arn:aws:ecs:us-east-1:000000000000:service/demo/posts";
    let ask = |context: &Context, action: &str| {
        let request = Request { principal: &principal, action, resource, context };
        evaluate(&request, &policies)
    };
    let known = context();
    assert_eq!(ask(&known, "ecs:UpdateService"), Decision::Allowed);
    assert_ne!(ask(&known, "ecs:DeleteCluster"), Decision::Allowed);
    measure("a call that is allowed, its context known", || ask(&known, "ecs:UpdateService"));
    measure("a call that is denied, its context known", || ask(&known, "ecs:DeleteCluster"));
    measure("the context of a call", context);
    measure("a call that is allowed, all of it", || ask(&context(), "ecs:UpdateService"));
}

/// As the endpoint makes it for a role's session.
fn context() -> Context {
    let mut context = Context::default();
    for (key, value) in [
        ("aws:principalarn", "arn:aws:iam::000000000000:role/api"),
        ("aws:principalaccount", "000000000000"),
        ("aws:resourceaccount", "000000000000"),
        ("aws:principaltype", "AssumedRole"),
        ("aws:principalisawsservice", "false"),
        ("aws:userid", "AROAEXAMPLE:s1"),
        ("aws:currenttime", "2026-01-31T12:00:00Z"),
        ("aws:epochtime", "1769860800"),
        ("aws:tokenissuetime", "2026-01-31T11:00:00Z"),
        ("aws:requestedregion", "us-east-1"),
        ("aws:securetransport", "false"),
        ("aws:multifactorauthpresent", "false"),
        ("aws:viaawsservice", "false"),
        ("aws:sourceip", "127.0.0.1"),
        ("aws:useragent", "aws-cli/2"),
        ("aws:principaltag/team", "shop"),
    ] {
        context.set(key, value);
    }
    context
}

/// The best of five rounds: what else the machine does only adds.
fn measure<T>(what: &str, mut one: impl FnMut() -> T) {
    let best = (0..5).map(|_| {
        let begun = Instant::now();
        (0..ROUNDS / 5).for_each(|_| drop(black_box(one())));
        begun.elapsed() / (ROUNDS / 5)
    });
    println!("{what}: {} ns", best.min().unwrap_or_default().as_nanos());
}
