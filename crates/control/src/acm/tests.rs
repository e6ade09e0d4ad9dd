//! Certificates through `Operations`.

use super::register;
use crate::testing::World;
use quarry_aws::acm::{self as aws, op};
use quarry_wire::{Blob, ServiceError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

const RSA: &str = include_str!("fixtures/rsa.pem");
const RSA_PKCS1: &str = include_str!("fixtures/rsa.pkcs1.pem");
const RSA_PKCS8: &str = include_str!("fixtures/rsa.pkcs8.pem");
const EC: &str = include_str!("fixtures/ec.pem");
const EC_SEC1: &str = include_str!("fixtures/ec.sec1.pem");

/// A certificate, the one that signed it, and its key.
struct Made {
    body: String,
    chain: String,
    key: String,
}

fn made(name: &str, until: i32) -> Made {
    let params = |name: &str, until: i32| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    };
    let mut authority = params("ca.example.com", 2120);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let chain = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let body = params(name, until).signed_by(&key, &issuer).unwrap().pem();
    Made { body, chain, key: key.serialize_pem() }
}

fn import_with(
    world: &World,
    body: &str,
    key: &str,
    chain: Option<&str>,
    change: impl FnOnce(&mut aws::ImportCertificateRequest),
) -> Result<String, ServiceError> {
    let blob = |text: &str| Some(Blob(text.as_bytes().to_vec()));
    let mut input = aws::ImportCertificateRequest {
        certificate: blob(body),
        private_key: blob(key),
        certificate_chain: chain.and_then(blob),
        ..Default::default()
    };
    change(&mut input);
    Ok(world.call::<op::ImportCertificate>(input)?.certificate_arn.unwrap())
}

/// Imports a self-signed certificate.
pub(crate) fn import(world: &World) -> String {
    import_with(world, RSA, RSA_PKCS8, None, |_| ()).unwrap()
}

pub(crate) const IMPORTED_KEY: &str = RSA_PKCS8;

fn describe(world: &World, arn: &str) -> aws::CertificateDetail {
    let input = aws::DescribeCertificateRequest { certificate_arn: Some(arn.into()) };
    world.call::<op::DescribeCertificate>(input).unwrap().certificate.unwrap()
}

fn request(
    world: &World,
    domain: &str,
    change: impl FnOnce(&mut aws::RequestCertificateRequest),
) -> Result<String, ServiceError> {
    let mut input = aws::RequestCertificateRequest { domain_name: Some(domain.into()), ..Default::default() };
    change(&mut input);
    Ok(world.call::<op::RequestCertificate>(input)?.certificate_arn.unwrap())
}

fn refused<T>(result: Result<T, ServiceError>, code: &str, words: &str) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.code, code, "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
}

#[test]
fn an_import_is_checked_and_shown_and_its_key_is_sealed() {
    let world = World::new(register);
    let (one, other) = (made("www.example.com", 2119), made("www.example.com", 2119));
    let tag = aws::Tag { key: Some("team".into()), value: Some("web".into()) };
    let arn = import_with(&world, &one.body, &one.key, Some(&one.chain), |i| i.tags = Some(vec![tag])).unwrap();
    let shown = describe(&world, &arn);
    assert_eq!(shown.domain_name.as_deref(), Some("www.example.com"));
    assert_eq!((shown.status.as_deref(), shown.r#type.as_deref()), (Some("ISSUED"), Some("IMPORTED")));
    assert_eq!(shown.key_algorithm.as_deref(), Some("EC_prime256v1"));
    assert_eq!(shown.issuer.as_deref(), Some("ca.example.com"));
    let got = world.call::<op::GetCertificate>(aws::GetCertificateRequest { certificate_arn: Some(arn.clone()) });
    let got = got.unwrap();
    assert_eq!((got.certificate.as_deref(), got.certificate_chain.as_deref()), (Some(&*one.body), Some(&*one.chain)));

    let check = |body: &str, key: &str, chain: Option<&str>, words: &str| {
        refused(import_with(&world, body, key, chain, |_| ()), "ValidationException", words);
    };
    check(&one.body, &other.key, Some(&one.chain), "does not match");
    check(&one.body, &one.key, Some(&other.chain), "Could not validate the certificate");
    check(&one.body, &one.key, None, "not a valid self signed");
    check(&format!("{}{}", one.body, one.chain), &one.key, None, "more than one certificate");
    check("no certificate", &one.key, None, "Could not parse certificate");
    check(&one.body, "no key", Some(&one.chain), "private key");
    check(&one.body, &one.key, Some("nothing"), "Could not parse certificate chain");
    let old = made("old.example.com", 2022);
    check(&old.body, &old.key, Some(&old.chain), "expired");

    // In the place of the one before: the ARN stays.
    let again = import_with(&world, &other.body, &other.key, Some(&other.chain), |i| {
        i.certificate_arn = Some(arn.clone());
    });
    assert_eq!(again.unwrap(), arn);
    assert_ne!(describe(&world, &arn).serial, shown.serial);
    let rsa = import_with(&world, RSA, RSA_PKCS8, None, |i| i.certificate_arn = Some(arn.clone()));
    refused(rsa, "ValidationException", "key algorithm");
    let tags = world
        .call::<op::ListTagsForCertificate>(aws::ListTagsForCertificateRequest { certificate_arn: Some(arn.clone()) });
    assert_eq!(tags.unwrap().tags.unwrap()[0].key.as_deref(), Some("team"));
    let secret = one.key.lines().nth(1).unwrap();
    for file in std::fs::read_dir(world.dir()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", path.display());
    }
}

#[test]
fn keys_of_every_common_form_are_read() {
    let world = World::new(register);
    for (body, key, algorithm, signature) in [
        (RSA, RSA_PKCS1, "RSA_2048", "SHA256WITHRSA"),
        (RSA, RSA_PKCS8, "RSA_2048", "SHA256WITHRSA"),
        (EC, EC_SEC1, "EC_secp384r1", "SHA384WITHECDSA"),
    ] {
        let arn = import_with(&world, body, key, None, |_| ()).unwrap();
        let shown = describe(&world, &arn);
        assert_eq!(shown.key_algorithm.as_deref(), Some(algorithm));
        assert_eq!(shown.signature_algorithm.as_deref(), Some(signature));
    }
    refused(import_with(&world, RSA, EC_SEC1, None, |_| ()), "ValidationException", "does not match");
    refused(import_with(&world, EC, RSA_PKCS1, None, |_| ()), "ValidationException", "does not match");
    let shown = describe(&world, &import(&world));
    assert_eq!(shown.subject.as_deref(), Some("CN=rsa.example.com,O=Example"));
    assert_eq!(shown.serial.as_deref(), Some("12:34:ab:cd"));
    assert_eq!(shown.subject_alternative_names.unwrap(), ["rsa.example.com", "*.example.com"]);
}

#[test]
fn a_request_is_issued_at_once_by_the_own_authority() {
    let world = World::new(register);
    let token = |i: &mut aws::RequestCertificateRequest| {
        i.subject_alternative_names = Some(vec!["*.Example.com".into()]);
        i.validation_method = Some("DNS".into());
        i.idempotency_token = Some("t1".into());
    };
    let arn = request(&world, "example.com", token).unwrap();
    assert_eq!(request(&world, "example.com", token).unwrap(), arn, "the same request again");
    let shown = describe(&world, &arn);
    assert_eq!((shown.status.as_deref(), shown.r#type.as_deref()), (Some("ISSUED"), Some("AMAZON_ISSUED")));
    assert_eq!(shown.subject_alternative_names.unwrap(), ["example.com", "*.example.com"]);
    let validations = shown.domain_validation_options.unwrap();
    let record = |n: usize| validations[n].resource_record.clone().unwrap();
    assert_eq!(record(0), record(1), "a wildcard is validated by its domain's record");
    assert!(record(0).name.unwrap().ends_with(".example.com."));
    assert!(record(0).value.unwrap().ends_with(".acm-validations.aws."));
    let got = world.call::<op::GetCertificate>(aws::GetCertificateRequest { certificate_arn: Some(arn.clone()) });
    let chain = got.unwrap().certificate_chain.unwrap();
    assert_eq!(std::fs::read_to_string(world.dir().join(super::authority::FILE)).unwrap(), chain);
    // One authority, whose certificates lead to it.
    let second = request(&world, "other.example.com", |i| i.key_algorithm = Some("EC_secp384r1".into())).unwrap();
    let got = world.call::<op::GetCertificate>(aws::GetCertificateRequest { certificate_arn: Some(second.clone()) });
    let got = got.unwrap();
    assert_eq!(got.certificate_chain.as_deref(), Some(chain.as_str()));
    let body = super::certificate::one(got.certificate.unwrap().as_bytes()).unwrap();
    super::certificate::check_chain(&body, &super::certificate::certificates(chain.as_bytes(), "chain").unwrap())
        .unwrap();

    for bad in ["example", "-a.example.com", "a..com", "*.*.example.com", "a b.com"] {
        refused(request(&world, bad, |_| ()), "ValidationException", "not valid");
    }
    let email = request(&world, "a.com", |i| i.validation_method = Some("EMAIL".into()));
    refused(email, "InvalidParameterException", "DNS");
    refused(request(&world, "a.com", |i| i.key_algorithm = Some("RSA_2048".into())), "ValidationException", "RSA_2048");
    let many = (0..10).map(|n| format!("n{n}.a.com")).collect::<Vec<_>>();
    refused(request(&world, "a.com", |i| i.subject_alternative_names = Some(many)), "LimitExceededException", "10");

    let list = |types: Option<Vec<String>>| {
        let includes = types.map(|key_types| aws::Filters { key_types: Some(key_types), ..Default::default() });
        let output =
            world.call::<op::ListCertificates>(aws::ListCertificatesRequest { includes, ..Default::default() });
        output
            .unwrap()
            .certificate_summary_list
            .unwrap()
            .into_iter()
            .filter_map(|c| c.certificate_arn)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None), [arn.clone(), second.clone()]);
    assert_eq!(list(Some(vec!["EC_secp384r1".into()])), [second]);
    let options = |arn: &str, value: &str| {
        world.call::<op::UpdateCertificateOptions>(aws::UpdateCertificateOptionsRequest {
            certificate_arn: Some(arn.into()),
            options: Some(aws::CertificateOptions {
                certificate_transparency_logging_preference: Some(value.into()),
                export: None,
            }),
        })
    };
    options(&arn, "DISABLED").unwrap();
    let shown = describe(&world, &arn).options.unwrap();
    assert_eq!(shown.certificate_transparency_logging_preference.as_deref(), Some("DISABLED"));
    refused(options(&import(&world), "DISABLED"), "InvalidStateException", "imported");
}

#[test]
fn tags_change_and_what_is_deleted_is_gone() {
    let world = World::new(register);
    let arn = import(&world);
    let tag = |key: &str, value: Option<&str>| aws::Tag { key: Some(key.into()), value: value.map(str::to_owned) };
    let add = |tags: Vec<aws::Tag>| {
        let input = aws::AddTagsToCertificateRequest { certificate_arn: Some(arn.clone()), tags: Some(tags) };
        world.call::<op::AddTagsToCertificate>(input)
    };
    add(vec![tag("a", Some("1")), tag("b", Some("2"))]).unwrap();
    refused(add(vec![tag("aws:x", None)]), "InvalidTagException", "aws:x");
    refused(add((0..50).map(|n| tag(&format!("k{n}"), None)).collect()), "TooManyTagsException", "50");
    world
        .call::<op::RemoveTagsFromCertificate>(aws::RemoveTagsFromCertificateRequest {
            certificate_arn: Some(arn.clone()),
            tags: Some(vec![tag("a", Some("other")), tag("b", None)]),
        })
        .unwrap();
    let input = aws::ListTagsForCertificateRequest { certificate_arn: Some(arn.clone()) };
    let left = world.call::<op::ListTagsForCertificate>(input).unwrap().tags.unwrap();
    assert_eq!(left, [tag("a", Some("1"))]);
    let delete = |arn: &str| {
        world.call::<op::DeleteCertificate>(aws::DeleteCertificateRequest { certificate_arn: Some(arn.into()) })
    };
    delete(&arn).unwrap();
    refused(delete(&arn), "ResourceNotFoundException", "Could not find certificate");
    refused(delete("arn:aws:s3:::b"), "InvalidArnException", "Invalid");
}
