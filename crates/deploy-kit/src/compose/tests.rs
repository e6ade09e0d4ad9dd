use super::*;
use crate::manifest::{Count, Image, Value};

const FILE: &str = r#"version: "3.9"
x-common: &common
  restart: unless-stopped
services:
  web:
    <<: *common
    build:
      context: ./web
      args: {LEVEL: high}
      network: host
    ports:
      - "8080:80"
      - target: 9000
    environment:
      - DATABASE_URL=postgres://${DB_USER:-me}@db/app
      - TOKEN
    depends_on: [db]
    command: ["serve", "$$HOME"]
    healthcheck:
      test: curl -f http://localhost/
      interval: 1s
      timeout: 5s
    user: "1000"
    working_dir: /app
    stop_grace_period: 10s
    deploy:
      replicas: 3
      resources: {limits: {cpus: "0.75", memory: 1500m}}
    volumes:
      - ./src:/app
  My_db:
    image: postgres:16
    ports: ["5432:5432"]
    env_file: [a.env, ./db.env]
    volumes: [data:/var/lib/postgresql/data]
volumes:
  data:
"#;

fn at(dir: &str) -> At<'_> {
    At { file: "docker-compose.yml", dir, has_root: false }
}

fn left(composed: &Composed) -> Vec<(usize, String)> {
    let of = |note: &Note| match &note.fate {
        Fate::Left(why) => Some((note.line, format!("{}: {why}", note.field))),
        Fate::Taken(_) => None,
    };
    composed.notes.iter().filter_map(of).collect()
}

#[test]
fn services_become_manifests_and_what_is_left_is_told_by_line() {
    let composed = convert(FILE, at("stack")).unwrap_or_else(|problems| panic!("{problems}"));
    let [web, db] = composed.services.as_slice() else { panic!("{composed:?}") };
    assert_eq!((web.kind, web.port, web.builds), (Kind::LoadBalanced, Some(80), true));
    assert_eq!((db.name.as_str(), db.kind, db.port, db.builds), ("my-db", Kind::Backend, Some(5432), false));
    let shell = [("TOKEN".to_owned(), "t".to_owned())].into();
    let reading = Reading { shell, ..Reading::default() };
    let read = Service::read("web", &web.manifest, &reading).unwrap_or_else(|problems| panic!("{problems}"));
    let Image::Build(build) = &read.main.image else { panic!("{read:?}") };
    assert_eq!((build.dockerfile.as_str(), build.context.as_str()), ("stack/web/Dockerfile", "stack/web"));
    assert_eq!(build.args["LEVEL"], "high");
    assert_eq!(read.main.variables["DATABASE_URL"], Value::Text("postgres://me@db/app".into()));
    assert_eq!(read.main.variables["TOKEN"], Value::Text("t".into()));
    assert_eq!(read.main.command, ["serve", "$HOME"]);
    assert_eq!((read.count.clone(), read.cpu, read.memory), (Count::Fixed(3), 1024, 2048));
    assert_eq!(read.main.check.as_ref().unwrap().interval, 5);
    assert_eq!(read.overrides.len(), 3);
    assert_eq!(read.http.as_ref().unwrap().rules[0].path, "");
    let read = Service::read("db", &db.manifest, &Reading::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(read.main.env_file.as_deref(), Some("stack/db.env"));

    let left = left(&composed);
    for (line, said) in [
        (10, "services.web.build.network: "),
        (11, "services.web.ports: 9000 comes after 80"),
        (14, "services.web.environment: DB_USER was written down as \"me\""),
        (17, "services.web.depends_on: services start without an order"),
        (19, "services.web.healthcheck: interval: ECS has 5s to 300s, so it is 5s"),
        (29, "services.web.volumes: what a task writes goes with the task"),
        (31, "services.My_db: it is called my-db"),
        (33, "services.My_db.ports: 5432 is no port of HTTP"),
        (34, "services.My_db.env_file: a.env: a manifest has one env_file"),
        (35, "services.My_db.volumes: "),
        (36, "volumes: what a task writes goes with the task"),
    ] {
        assert!(
            left.iter().any(|(l, text)| *l == line && text.starts_with(said)),
            "{line}: {said} is not in\n{left:#?}"
        );
    }
    assert_eq!(left.len(), 11, "{left:#?}");
    let taken = composed.notes.iter().filter(|note| matches!(note.fate, Fate::Taken(_))).count();
    assert_eq!(taken, 13, "{:#?}", composed.notes);
}

#[test]
fn what_is_no_compose_file_is_told_by_line() {
    for (text, said) in [
        ("services:\n  web: {image: a, ports: 80}\n", "docker-compose.yml:2: services.web.ports: this is no form"),
        ("services:\n  web:\n    environment: [[1]]\n", "docker-compose.yml:3: services.web.environment"),
        ("services:\n  web:\n    command: x\n", "docker-compose.yml:2: services.web: it has neither image nor build"),
        ("services: {1: {image: x}}\n", "no name of a service can be made of this"),
        ("services: {a_b: {image: x}, a-b: {image: y}}\n", "two of them would be called a-b"),
        ("name: x\n", "there is no service in this file"),
        ("services: [\n", "this is not YAML"),
    ] {
        let error = convert(text, at("")).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {said} is not in\n{error}");
    }
}

proptest::proptest! {
    /// Whatever stands in the file: its manifests can be read, or it is refused for a reason.
    #[test]
    fn no_file_becomes_a_manifest_that_cannot_be_read(line in 0usize..40, value in "[-a-zA-Z0-9{}\\[\\]:,'\"&*|> ~!#%@$\\\\/.]{0,24}") {
        let all: Vec<&str> = FILE.lines().collect();
        let changed: String = all
            .iter()
            .enumerate()
            .map(|(i, old)| match old.split_once(':') {
                Some((name, _)) if i == line % all.len() => format!("{name}: {value}\n"),
                _ => format!("{old}\n"),
            })
            .collect();
        if let Err(problems) = convert(&changed, at("")) {
            proptest::prop_assert!(!problems.0.is_empty(), "refused without a reason:\n{changed}");
            let ours = problems.0.iter().all(|problem| problem.file == "docker-compose.yml");
            proptest::prop_assert!(ours, "a manifest that cannot be read:\n{changed}\n{problems}");
        }
    }
}
