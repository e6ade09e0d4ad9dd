use super::*;

fn reading() -> Reading {
    Reading { app: "api".into(), environment: "test".into(), shell: BTreeMap::from([("TAG".into(), "v7".into())]) }
}

fn read(text: &str) -> Result<Service, String> {
    Service::read("copilot/posts/manifest.yml", text, &reading()).map_err(|problems| problems.to_string())
}

/// A manifest of a load balanced service with more lines below.
fn with(more: &str) -> String {
    format!("name: posts\ntype: Load Balanced Web Service\nimage:\n  build: posts/Dockerfile\n  port: 3000\n{more}")
}

#[test]
fn what_svc_init_writes_is_read_back() {
    for (kind, dir) in Kind::ALL
        .into_iter()
        .flat_map(|kind| ["3-microservices/services/posts", "my app: it's #1"].map(|dir| (kind, dir)))
    {
        let new = NewService {
            name: "posts".into(),
            kind,
            image: NewImage::Dockerfile(format!("{dir}/Dockerfile")),
            port: Some(3000),
            platform: Platform::X86,
            path: "posts".into(),
        };
        let service = read(&new_service(&new)).unwrap();
        assert_eq!((service.kind, service.main.port, service.exec), (kind, Some(3000), true));
        let Image::Build(build) = &service.main.image else { panic!("{service:?}") };
        assert_eq!(build.context, dir);
        assert_eq!(service.http.is_some(), kind == Kind::LoadBalanced);
        assert_eq!(service.network.connect, Some(Connect { alias: None }));
    }
    let text = new_environment("test");
    assert_eq!(Environment::read("m.yml", &text, &reading()).unwrap(), Environment::new("test"));
}

#[test]
fn an_environments_overrides_are_laid_on() {
    let text = with(
        "http: {path: /, healthcheck: /up}\ncount: 1\nvariables: {A: '1', B: '2'}\nenvironments:\n  test:\n    \
         count: {range: 2-4, cpu_percentage: 60}\n    variables: {B: '3'}\n    http: {healthcheck: {path: /deep}}\n  \
         prod:\n    count: 9\n    variables: {A: '${NOT_SET_HERE}'}\n",
    );
    let service = read(&text).unwrap();
    let Count::Scaled(scaling) = &service.count else { panic!("{:?}", service.count) };
    assert_eq!((scaling.range.min, scaling.range.max), (2, 4));
    assert_eq!(service.main.variables["A"], Value::Text("1".into()));
    assert_eq!(service.main.variables["B"], Value::Text("3".into()));
    assert_eq!(service.http.unwrap().rules[0].check.path, "/deep");
}

#[test]
fn values_name_the_shells_variables() {
    let text = with(
        "http: {path: '${COPILOT_APPLICATION_NAME}'}\nvariables: {V: '${TAG}-${COPILOT_ENVIRONMENT_NAME}', W: '\\${TAG} $x ${'}\n",
    );
    let service = read(&text).unwrap();
    assert_eq!(service.http.unwrap().rules[0].path, "api");
    assert_eq!(service.main.variables["V"], Value::Text("v7-test".into()));
    assert_eq!(service.main.variables["W"], Value::Text("${TAG} $x ${".into()));
    let error = read(&with("http: {path: /}\nvariables:\n  V: '${NOPE}'\n")).unwrap_err();
    assert!(error.contains("manifest.yml:8:") && error.contains("export NOPE"), "{error}");
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_line() {
    let text = with(
        "http:\n  path: /\n  healthchek: /\ncpu: 300\nnlb:\n  port: 80\ncount: many\nsecrets:\n  A: {}\nplatform: windows/x86_64\nwhat: 1\n",
    );
    let error = read(&text).unwrap_err();
    for said in [
        "manifest.yml:8: http.healthchek: unknown field: did you mean healthcheck?",
        "manifest.yml:10: nlb: not supported",
        "manifest.yml:12: count: many is not a whole number",
        "manifest.yml:14: secrets.A: take one of",
        "manifest.yml:15: platform: windows is not supported",
        "manifest.yml:16: what: unknown field: remove it",
        "memory: Fargate has no size of cpu 300",
    ] {
        assert!(error.contains(said), "{said} is not in\n{error}");
    }
}

#[test]
fn other_types_are_refused_by_name() {
    for (kind, said) in [
        ("Worker Service", "Backend Service"),
        ("Scheduled Job", "task run"),
        ("Request-Driven Web Service", "App Runner"),
        ("Static Site", "S3"),
        ("Thing", "no type"),
    ] {
        let error = read(&format!("name: w\ntype: {kind}\nimage: {{location: x}}\n")).unwrap_err();
        assert!(error.contains("manifest.yml:2: type") && error.contains(said), "{error}");
    }
}

#[test]
fn every_field_is_honoured_or_refused() {
    let text = include_str!("../../tests/manifests/everything.yml");
    let service = read(text).unwrap();
    assert_eq!(service.main.entrypoint, ["/bin/run", "--all", "two words"]);
    assert_eq!(service.main.check.as_ref().unwrap().start_period, 60);
    let http = service.http.as_ref().unwrap();
    assert_eq!((http.grace_period, http.rules.len()), (120, 3));
    assert_eq!(http.rules[0].aliases, ["a.example.com", "b.example.com"]);
    let targets: Vec<_> = http.rules.iter().map(|rule| service.target(rule)).collect();
    assert_eq!(targets, [("front", 8080), ("proxy", 8081), ("front", 9000)]);
    assert_eq!(http.rules[1].check.path, "/up");
    assert_eq!(service.main.secrets["B"], Secret::Secret("db:user::".into()));
    let Count::Scaled(scaling) = &service.count else { panic!() };
    assert_eq!(scaling.memory.unwrap().cooldown, Cooldown { scale_in: 30, scale_out: 20 });
    assert_eq!(scaling.response_time.unwrap().value, 500);
    assert_eq!(service.sidecars[1].command, ["warm", "up"]);
}

#[test]
fn impossible_wishes_are_refused() {
    for (more, said) in [
        ("http: {path: /}\nimage2: 1\n", "did you mean image?"),
        ("count: 1\n", "needs it, with a path"),
        ("http: {healthcheck: /}\n", "http.path: is missing"),
        ("http: {path: a, alias: [a, b, c], allowed_source_ips: [10.0.0.0/8]}\n", "takes five"),
        ("http: {path: a, healthcheck: up}\n", "\"up\" must begin with /"),
        ("http: {path: a, healthcheck: {path: up}}\n", "http.healthcheck.path: \"up\" must begin with /"),
        ("http: {path: a, target_container: none}\n", "there is no container none"),
        ("http: {path: a, version: grpc}\n", "take http1 or http2"),
        ("http: {path: a}\ncount: {range: 4-2, cpu_percentage: 1}\n", "in this order"),
        ("http: {path: a}\ncount: {range: 1-2}\n", "nothing to scale by"),
        ("http: {path: a}\ncount: {cpu_percentage: 2}\n", "range is missing"),
        ("http: {path: a}\nstorage: {volumes: {v: {path: /x, efs: true}}}\n", "Elastic File System"),
        ("http: {path: a}\nsidecars: {s: {image: x, depends_on: {posts: start}}}\nimage: {}\n", "a second time"),
        (
            "http: {path: a}\nsidecars: {s: {image: x, mount_points: [{source_volume: v, path: /v}]}}\n",
            "there is no volume v",
        ),
        (
            "http: {path: a}\nenvironments: {test: {image: {depends_on: {s: success}}}}\nsidecars: {s: {image: x}}\n",
            "never completes",
        ),
        ("http: {path: a}\nobservability: {tracing: awsxray}\n", "not supported"),
        ("http: {path: a}\ntaskdef_overrides: [{path: Family, value: x}]\n", "services are found by it"),
        (
            "http: {path: a}\ntaskdef_overrides: [{path: 'ContainerDefinitions[1].Name', value: x}]\n",
            "services are found by it",
        ),
        ("http: {path: a}\ntaskdef_overrides: [{path: 'A[x]', value: x}]\n", "or [-] for a new one"),
        ("http: {path: a}\ntaskdef_overrides: [{path: 'A[1', value: x}]\n", "or [-] for a new one"),
        ("http: {path: a}\ntaskdef_overrides: [{path: A..B, value: x}]\n", "no name of a field"),
        ("http: {path: a}\ntaskdef_overrides: [{path: A}]\n", "value: is missing"),
        ("http: {path: a}\ntaskdef_overrides: [{value: 1}]\n", "path: is missing"),
        ("http: {path: a}\nvariables: {A: !Ref B}\n", "!Ref is CloudFormation's"),
    ] {
        let error = read(&with(more)).expect_err(more);
        assert!(error.contains(said), "{more}: {said} is not in\n{error}");
    }
}

#[test]
fn an_environments_manifest() {
    let text = "name: qa\ntype: Environment\nnetwork:\n  vpc:\n    cidr: 10.9.0.0/16\n    subnets:\n      public:\n        \
                - {cidr: 10.9.0.0/24, az: us-east-1a}\n        - {cidr: 10.9.1.0/24}\nhttp:\n  public:\n    \
                certificates: [arn:aws:acm:x]\n    ingress: {source_ips: [10.0.0.0/8]}\nobservability: {container_insights: true}\n";
    let environment = Environment::read("m.yml", text, &reading()).unwrap();
    assert_eq!(environment.public[0].az.as_deref(), Some("us-east-1a"));
    assert!(environment.container_insights);
    let error =
        Environment::read("m.yml", "name: qa\ntype: Environment\ncdn: true\nnetwork: {vpc: {id: vpc-1}}\n", &reading());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("m.yml:3: cdn") && error.contains("m.yml:4: network.vpc.id"), "{error}");
}

proptest::proptest! {
    /// Whatever stands in a manifest, it is read or refused, and a refusal has a reason.
    #[test]
    fn no_text_makes_the_reader_fail(line in 0usize..80, value in "[-a-z0-9{}\\[\\]:,'\"&*|> ~!#%@$\\\\/.]{0,24}", text in "\\PC{0,60}") {
        let all: Vec<&str> = include_str!("../../tests/manifests/everything.yml").lines().collect();
        let changed: String = all
            .iter()
            .enumerate()
            .map(|(i, old)| match old.split_once(':') {
                Some((name, _)) if i == line % all.len() => format!("{name}: {value}\n"),
                _ => format!("{old}\n"),
            })
            .collect();
        for text in [changed, text] {
            if let Err(problems) = Service::read("m.yml", &text, &reading()) {
                proptest::prop_assert!(!problems.0.is_empty(), "refused without a reason:\n{text}");
            }
        }
    }
}
