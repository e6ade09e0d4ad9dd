use super::*;

pub(super) fn settings(variables: &[(&str, &str)], config: &str, credentials: &str) -> Settings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings { variables, files: Files::parse(config, credentials) }
}

pub(super) fn choice(profile: Option<&str>) -> Choice {
    Choice { profile: profile.map(str::to_owned), ..Choice::default() }
}

fn key(id: &str) -> Source {
    Source::Key(Credentials::new(id, "s", None))
}

const KEYS: &str =
    "[default]\naws_access_key_id=D\naws_secret_access_key=s\n[prod]\naws_access_key_id=P\naws_secret_access_key=s\n";
const SHELL: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "us-east-1")];

#[test]
fn a_named_profile_goes_before_the_environment_and_that_before_the_default_one() {
    let all = settings(&SHELL, "[profile prod]\nregion=eu-west-1\n", KEYS);
    let source = |settings: &Settings, choice: &Choice| settings.source(choice).unwrap();
    assert_eq!(source(&all, &choice(Some("prod"))), (key("P"), Some("prod".into())));
    assert_eq!(all.region(&choice(Some("prod"))).unwrap(), "eu-west-1");
    assert_eq!(source(&all, &choice(None)), (key("E"), None));
    assert_eq!(all.region(&choice(None)).unwrap(), "us-east-1");
    let there = Choice { region: Some("ap-south-1".into()), ..choice(Some("prod")) };
    assert_eq!(all.region(&there).unwrap(), "ap-south-1");
    // Quarry's own key and endpoint are in the shell, and are not AWS's.
    let own = Choice { not_key: Some("E".into()), not_endpoint: Some("http://127.0.0.1:4566".into()), ..choice(None) };
    assert_eq!(source(&all, &own), (key("D"), Some("default".into())));
    let both = settings(
        &[("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/"), ("AWS_ENDPOINT_URL_ECS", "https://localhost:1")],
        "[default]\nendpoint_url = https://localhost:2\n",
        KEYS,
    );
    let found = both.instead(&own);
    assert_eq!((found.all.as_deref(), found.one.len()), (Some("https://localhost:2"), 1));
    assert_eq!(both.instead(&choice(None)).all.as_deref(), Some("http://127.0.0.1:4566/"));
    let ignoring = settings(&[("AWS_ENDPOINT_URL", "x"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")], "", "");
    assert_eq!(ignoring.instead(&choice(None)), Instead::default());
    let named = settings(&[("AWS_PROFILE", "prod")], "", KEYS);
    assert_eq!(source(&named, &choice(None)), (key("P"), Some("prod".into())));
    assert!(matches!(named.region(&choice(None)), Err(AwsError::NoRegion)));
    assert!(matches!(settings(&[], "", "").source(&choice(None)), Err(AwsError::NoCredentials)));
    assert!(matches!(all.source(&choice(Some("other"))), Err(AwsError::NoProfile(name)) if name == "other"));
}

#[test]
fn roles_are_assumed_by_another_profile_and_circles_are_seen() {
    let config = "[profile admin]\nrole_arn=arn:aws:iam::1:role/admin\nsource_profile=prod\nexternal_id=x\nduration_seconds=900\n\
                  [profile outer]\nrole_arn=arn:aws:iam::2:role/outer\nsource_profile=admin\n\
                  [profile a]\nrole_arn=r\nsource_profile=b\n[profile b]\nrole_arn=r\nsource_profile=a\n\
                  [profile self]\nrole_arn=r\nsource_profile=self\n[profile shell]\nrole_arn=r\ncredential_source=Environment\n";
    let all = settings(&SHELL, config, KEYS);
    let (source, _) = all.source(&choice(Some("outer"))).unwrap();
    let Source::Role { arn, by, .. } = source else { panic!("{source:?}") };
    assert_eq!(arn, "arn:aws:iam::2:role/outer");
    let Source::Role { external_id, seconds, by, .. } = *by else { panic!("a role is expected") };
    assert_eq!((external_id.as_deref(), seconds, *by), (Some("x"), Some(900), key("P")));
    let (source, _) = all.source(&choice(Some("shell"))).unwrap();
    let Source::Role { by, .. } = source else { panic!("{source:?}") };
    assert_eq!(*by, key("E"));
    for name in ["a", "self"] {
        assert!(matches!(all.source(&choice(Some(name))), Err(AwsError::Circle(_))), "{name}");
    }
}

#[test]
fn what_needs_somebody_else_is_refused_with_what_to_do() {
    let config = "[profile sso]\nsso_session=corp\nsso_account_id=1\n[profile old]\nsso_start_url=https://x\n\
                  [profile program]\ncredential_process=/bin/x\n\
                  [profile mfa]\nrole_arn=r\nsource_profile=prod\nmfa_serial=arn:aws:iam::1:mfa/me\n[profile empty]\nregion=us-east-1\n";
    let all = settings(&[], config, KEYS);
    for (name, what) in [
        ("sso", "single sign-on (sso_session)"),
        ("old", "single sign-on (sso_start_url)"),
        ("program", "credential_process"),
        ("mfa", "mfa_serial"),
    ] {
        let error = all.source(&choice(Some(name))).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(error.contains(&format!("aws configure export-credentials --profile {name} --format env")), "{error}");
    }
    let error = all.source(&choice(Some("empty"))).unwrap_err().to_string();
    assert!(error.contains("no access key"), "{error}");
}
