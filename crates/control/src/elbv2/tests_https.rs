//! HTTPS listeners and their certificates.

use super::tests::{balancer, forward, group, listener_input, refused, world_with};
use crate::acm;
use crate::link::builder;
use crate::testing::World;
use quarry_aws::acm as certificates;
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::snapshot::TlsCertificate;
use quarry_wire::ServiceError;

fn world() -> World {
    world_with(acm::register)
}

fn request(world: &World, domain: &str) -> String {
    let input = certificates::RequestCertificateRequest { domain_name: Some(domain.into()), ..Default::default() };
    world.call::<certificates::op::RequestCertificate>(input).unwrap().certificate_arn.unwrap()
}

fn named(arns: &[&str]) -> Option<Vec<aws::Certificate>> {
    let one = |arn: &&str| aws::Certificate { certificate_arn: Some((*arn).into()), is_default: None };
    Some(arns.iter().map(one).collect())
}

fn create(world: &World, change: impl FnOnce(&mut aws::CreateListenerInput)) -> Result<aws::Listener, ServiceError> {
    let balancers = world.call::<op::DescribeLoadBalancers>(Default::default()).unwrap().load_balancers.unwrap();
    let demo = match balancers.into_iter().next() {
        Some(demo) => demo,
        None => balancer(world, "demo"),
    };
    let groups = world.call::<op::DescribeTargetGroups>(Default::default()).unwrap().target_groups.unwrap();
    let api = match groups.into_iter().next() {
        Some(api) => api.target_group_arn.unwrap(),
        None => group(world, "api"),
    };
    let mut input = listener_input(&demo, 443, forward(&api));
    input.protocol = Some("HTTPS".into());
    change(&mut input);
    Ok(world.call::<op::CreateListener>(input)?.listeners.unwrap().remove(0))
}

fn shown(world: &World, listener: &str) -> Vec<(String, bool)> {
    let input = aws::DescribeListenerCertificatesInput { listener_arn: Some(listener.into()), ..Default::default() };
    let all = world.call::<op::DescribeListenerCertificates>(input).unwrap().certificates.unwrap();
    all.into_iter().map(|c| (c.certificate_arn.unwrap(), c.is_default.unwrap())).collect()
}

#[test]
fn an_https_listener_has_a_certificate_and_a_policy_and_the_proxy_is_told() {
    let world = world();
    let (imported, issued) = (acm::tests::import(&world), request(&world, "api.example.com"));
    let made = create(&world, |i| i.certificates = named(&[&imported])).unwrap();
    assert_eq!(made.ssl_policy.as_deref(), Some("ELBSecurityPolicy-2016-08"));
    assert_eq!(made.certificates.unwrap()[0].certificate_arn.as_ref(), Some(&imported));
    let arn = made.listener_arn.unwrap();
    let again = create(&world, |i| i.certificates = named(&[&imported])).unwrap();
    assert_eq!(again.listener_arn.as_ref(), Some(&arn), "the same request again");
    refused(create(&world, |i| i.certificates = named(&[&issued])), "DuplicateListener", "already exists");

    let add = |arns: &[&str]| {
        let input = aws::AddListenerCertificatesInput { listener_arn: Some(arn.clone()), certificates: named(arns) };
        world.call::<op::AddListenerCertificates>(input)
    };
    add(&[&issued]).unwrap();
    add(&[&issued, &imported]).unwrap();
    let twice = [(imported.clone(), true), (issued.clone(), false), (imported.clone(), false)];
    assert_eq!(shown(&world, &arn), twice);
    refused(add(&["arn:aws:acm:us-east-1:000000000000:certificate/gone"]), "CertificateNotFound", "gone");

    let built = || {
        let build = |tx: &crate::store::Tx<'_>| builder::build(tx, &world.platform.config);
        world.platform.store.read(build).unwrap()
    };
    let seen = built();
    assert_eq!(seen, built(), "the same records give the same snapshot");
    let tls = seen.load_balancers[0].listeners[0].tls.clone().unwrap();
    assert_eq!(tls.certificates.iter().map(|c| &c.arn).collect::<Vec<_>>(), [&imported, &issued]);
    assert_eq!(tls.certificates[0].names, ["rsa.example.com", "*.example.com"]);
    assert_eq!(tls.certificates[1].chain.matches("BEGIN CERTIFICATE").count(), 2, "with its issuer");
    assert_eq!(tls.protocols, ["TLSv1.2", "TLSv1.1", "TLSv1"]);
    assert!(tls.ciphers.contains(&"ECDHE-RSA-AES128-GCM-SHA256".to_owned()));
    let opened = world.platform.vault.open_sealed(&TlsCertificate::key_context(&imported), &tls.certificates[0].key);
    assert_eq!(opened.unwrap().into_text().unwrap(), acm::tests::IMPORTED_KEY);
    assert!(!serde_json::to_string(&seen).unwrap().contains("PRIVATE KEY"));

    let delete = |arn: &str| {
        let input = certificates::DeleteCertificateRequest { certificate_arn: Some(arn.into()) };
        world.call::<certificates::op::DeleteCertificate>(input)
    };
    refused(delete(&issued), "ResourceInUseException", "in use");
    let remove = |arns: &[&str]| {
        let input = aws::RemoveListenerCertificatesInput { listener_arn: Some(arn.clone()), certificates: named(arns) };
        world.call::<op::RemoveListenerCertificates>(input)
    };
    remove(&[&issued, &imported]).unwrap();
    refused(remove(&[&imported]), "OperationNotPermitted", "default certificate");
    refused(remove(&[&issued]), "CertificateNotFound", "not found");
    delete(&issued).unwrap();
    refused(delete(&imported), "ResourceInUseException", "in use");

    // Another certificate and policy, then plain HTTP.
    let other = request(&world, "other.example.com");
    let modify = |change: &dyn Fn(&mut aws::ModifyListenerInput)| {
        let mut input = aws::ModifyListenerInput { listener_arn: Some(arn.clone()), ..Default::default() };
        change(&mut input);
        world.call::<op::ModifyListener>(input).map(|output| output.listeners.unwrap().remove(0))
    };
    let policy = "ELBSecurityPolicy-TLS13-1-2-2021-06";
    let changed = modify(&|i| (i.certificates, i.ssl_policy) = (named(&[&other]), Some(policy.into()))).unwrap();
    assert_eq!(changed.ssl_policy.as_deref(), Some(policy));
    assert_eq!(shown(&world, &arn), [(other.clone(), true)]);
    assert_eq!(
        modify(&|i| i.port = Some(8443)).unwrap().ssl_policy.as_deref(),
        Some(policy),
        "what is not named stays"
    );
    let plain = modify(&|i| i.protocol = Some("HTTP".into())).unwrap();
    assert_eq!((plain.ssl_policy, plain.certificates), (None, None));
    refused(modify(&|i| i.protocol = Some("HTTPS".into())), "ValidationError", "certificate must be specified");
    refused(add(&[&other]), "ValidationError", "HTTPS");
    delete(&imported).unwrap();
}

#[test]
fn what_an_https_listener_cannot_be_is_refused() {
    let world = world();
    let own = acm::tests::import(&world);
    let with = |change: &dyn Fn(&mut aws::CreateListenerInput)| {
        create(&world, |input| {
            input.certificates = named(&[&own]);
            change(input);
        })
    };
    refused(with(&|i| i.certificates = None), "ValidationError", "certificate must be specified");
    refused(with(&|i| i.certificates = named(&["arn:x"])), "CertificateNotFound", "arn:x");
    refused(with(&|i| i.certificates = named(&[&own, &own])), "ValidationError", "Only one certificate");
    let policy = |name: &str| with(&|i| i.ssl_policy = Some(name.into()));
    refused(policy("ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04"), "SSLPolicyNotFound", "FIPS");
    refused(with(&|i| i.alpn_policy = Some(vec!["HTTP2Only".into()])), "ValidationError", "ALPN");
    let mutual = |mode: &str| aws::MutualAuthenticationAttributes { mode: Some(mode.into()), ..Default::default() };
    refused(with(&|i| i.mutual_authentication = Some(mutual("verify"))), "InvalidConfigurationRequest", "Mutual");
    refused(with(&|i| i.protocol = Some("HTTP".into())), "ValidationError", "certificates for listeners with the HTTP");
    with(&|i| i.mutual_authentication = Some(mutual("off"))).unwrap();
}

#[test]
fn security_policies_have_their_protocols_and_ciphers() {
    let world = world();
    let describe = |names: Option<Vec<String>>| {
        let input = aws::DescribeSSLPoliciesInput { names, ..Default::default() };
        world.call::<op::DescribeSSLPolicies>(input).map(|output| output.ssl_policies.unwrap())
    };
    let count = |name: &str| {
        let policy = describe(Some(vec![format!("ELBSecurityPolicy-{name}")])).unwrap().remove(0);
        (policy.ssl_protocols.unwrap().len(), policy.ciphers.unwrap().len())
    };
    assert_eq!(describe(None).unwrap().len(), 21);
    assert_eq!(count("2016-08"), (3, 18));
    assert_eq!(count("TLS13-1-2-2021-06"), (2, 11));
    assert_eq!(count("TLS13-1-2-Res-2021-06"), (2, 7));
    assert_eq!(count("TLS13-1-3-2021-06"), (1, 3));
    assert_eq!(count("TLS13-1-0-2021-06"), (4, 21));
    assert_eq!(count("TLS-1-2-2017-01"), (1, 12));
    let first = describe(Some(vec!["ELBSecurityPolicy-2016-08".into()])).unwrap().remove(0).ciphers.unwrap().remove(0);
    assert_eq!((first.name.as_deref(), first.priority), (Some("ECDHE-ECDSA-AES128-GCM-SHA256"), Some(1)));
    refused(describe(Some(vec!["x".into()])), "SSLPolicyNotFound", "x");
}
