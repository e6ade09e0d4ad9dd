//! Copilot's commands, typed as the published tutorial "Break a Monolithic Application" has them.

#[path = "copilot/builders.rs"]
mod builders;
#[path = "clients/dockerd.rs"]
mod dockerd;
#[path = "copilot/project.rs"]
mod project;
#[path = "stage/mod.rs"]
mod stage;

use project::{Project, left_over, template};
use quarry_testkit::tls::Relay;
use quarry_testkit::{Platform, wait_for};
use serde_json::Value;

/// The tutorial's second and third module: the monolith, then posts, threads and users out of it.
#[test]
fn the_tutorials_lines_work_as_they_stand() {
    let project = Project::with(&[
        "2-containerized/services/api",
        "3-microservices/services/posts",
        "3-microservices/services/threads",
        "3-microservices/services/users",
    ]);
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("app init api");
    let said = run("env init --app api --name test");
    assert!(said.contains("copilot/environments/test/manifest.yml") && said.contains("[succeeded]"), "{said}");
    run(
        r#"svc init --app api --dockerfile ./2-containerized/services/api/Dockerfile --name api --svc-type "Load Balanced Web Service""#,
    );
    let said = run("svc deploy --name api --env test");
    assert!(said.contains("Your service is accessible at http://"), "{said}");
    let url = project.url("api");
    project.answers(&url, "/api/posts", "api /api/posts");

    for name in ["posts", "threads", "users"] {
        let said = run(&format!(
            r#"svc init --app api --dockerfile ./3-microservices/services/{name}/Dockerfile --name {name} --svc-type "Load Balanced Web Service""#
        ));
        for line in [
            &format!("✔ Wrote the manifest for service {name} at copilot/{name}/manifest.yml") as &str,
            "Your manifest contains configurations like your container size and port (:3000).",
            "Recommended follow-up actions:",
            &format!("  - Update your manifest copilot/{name}/manifest.yml to change the defaults."),
        ] {
            assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
        }
        project.edit(name, &format!("path: '{name}'"), &format!("path: 'api/{name}'"));
        run(&format!("svc deploy --name {name} --env test"));
    }
    for name in ["posts", "threads", "users"] {
        project.answers(&url, &format!("/api/{name}"), &format!("{name} /api/{name}"));
        project.answers(&url, &format!("/api/{name}/1"), &format!("{name} /api/{name}/1"));
    }
    project.answers(&url, "/api/other", "api /api/other");
    // Others find a service by its whole name and by its short one.
    for host in ["users.test.api.local", "users"] {
        let said = project.get(&url, &format!("/api/posts/ask/{host}:3000")).unwrap();
        assert!(said.contains("users /asked"), "{host}: {said}");
    }

    // Deployed again, nothing changes; a changed variable does.
    let said = run("svc deploy --name posts --env test");
    assert!(said.contains("[no changes]"), "{said}");
    project.edit("posts", "# variables:\n#   LOG_LEVEL: info", "variables:\n  LOG_LEVEL: debug");
    run("svc deploy --name posts --env test");
    let said = project.get(&url, "/api/posts").unwrap();
    assert!(said.contains("LOG_LEVEL=debug") && said.contains("COPILOT_ENVIRONMENT_NAME=test"), "{said}");

    let status: Value = serde_json::from_str(&run("svc status --name posts --env test --json")).unwrap();
    assert_eq!((&status["running"], &status["targets"][0][1]), (&1.into(), &"healthy".into()), "{status}");
    assert!(run("svc logs --name posts --env test").contains("listening on 3000"));
    let shown: Value = serde_json::from_str(&run("svc show --name users --json")).unwrap();
    assert_eq!(shown["deployed"][0]["endpoint"], "users.test.api.local");
    let said = run(r#"svc exec --name posts --env test --command "/speaker say 0 hello""#);
    assert!(said.contains("hello"), "{said}");

    let listed: Value = serde_json::from_str(&run("ps --json")).unwrap();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(4), "{listed}");
    let said = run("top");
    assert!(said.lines().any(|line| line.contains("api-test-users") && line.contains("1/1")), "{said}");
    let shown: Value = serde_json::from_str(&run("env show --name test --json")).unwrap();
    assert_eq!(shown["services"].as_array().map(Vec::len), Some(4), "{shown}");

    run("svc pause --name threads --env test --yes");
    let status: Value = serde_json::from_str(&run("svc status --name threads --env test --json")).unwrap();
    assert_eq!(status["desired"], 0);
    run("svc resume --name threads --env test");
    project.answers(&url, "/api/threads", "threads /api/threads");

    let error = project.run("env delete --name test --yes").unwrap_err();
    assert!(error.contains("still has services: api, posts, threads, users"), "{error}");
    run("svc delete --name users --yes");
    project.answers(&url, "/api/users", "api /api/users");
    run("app delete --yes");
    assert_eq!(project.left_over(), Vec::<String>::new());
    assert!(project.root().join("copilot/posts/manifest.yml").exists());
}

/// Sidecars, secrets, files of variables, scaling, several rules: as the manifest says, and a task that runs once.
#[test]
fn a_manifest_is_carried_out_and_what_is_not_is_refused() {
    let project = Project::with(&["front", "helper", "mailer"]);
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("app init shop");
    run("env init --name test");
    project.secret("/shop/token", "sesame");
    project.write("front.env", "# a file\nFROM_FILE=yes\nLEVEL=file\n");
    project.write("copilot/front/manifest.yml", include_str!("copilot/front.yml"));
    project.write("copilot/mailer/manifest.yml", include_str!("copilot/mailer.yml"));
    run("svc deploy --name front --env test");
    run("svc deploy --name mailer --env test");
    let url = project.url("front");
    let said = project.get(&url, "/front").unwrap();
    for line in ["front /front", "LEVEL=manifest", "FROM_FILE=yes", "TOKEN=sesame", "APP=shop", "ADDED=yes"] {
        assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
    }
    // The second rule leads to the sidecar.
    let said = project.get(&url, "/helper/x").unwrap();
    assert!(said.contains(" /helper/x") && said.contains("PORT=3100"), "{said}");
    // Who is not in the block is not let in.
    let said = project.get(&url, "/closed").unwrap();
    assert!(said.contains("No service has this path"), "{said}");
    assert!(project.get(&url, "/front/ask/mailer:3000").unwrap().contains("mailer /asked"));
    project.scales("front", 1, 3);

    // The helper's first line is older than the main container's.
    wait_for("the lines of both containers", || {
        let said = run("svc logs --name front --env test");
        ["listening on 3000", "listening on 3100"].iter().all(|line| said.contains(line)).then_some(())
    });
    let template = run("svc package --name front --env test");
    assert!(template.contains("AWS::ApplicationAutoScaling::ScalingPolicy"), "{template}");
    let said = run(
        "task run --env test --dockerfile helper/Dockerfile --task-group-name once --command \"say 0 done\" --env-vars LEVEL=high --follow",
    );
    assert!(said.contains("done high"), "{said}");
    let error =
        project.run("task run --env test --dockerfile helper/Dockerfile -n once --command \"say 3 bad\" --follow");
    assert!(error.unwrap_err().contains("exit status: 3"));
    run("task delete --name once --yes");

    // A service that cannot start is rolled back, and why its tasks ended is told.
    project.write("copilot/helper/manifest.yml", "name: helper\ntype: Backend Service\nimage: {location: nowhere:1}\n");
    let error = project.run("svc deploy --name helper --env test").unwrap_err();
    assert!(error.contains("ROLLBACK_COMPLETE") && error.contains("CannotPullContainerError"), "{error}");
    let error = project.run("svc status --name helper --env test").unwrap_err();
    assert!(error.contains("helper is not deployed in test"), "{error}");

    project.edit("mailer", "count: 1", "count: 1\nhttp: {path: /}");
    let error = project.run("svc deploy --name mailer --env test").unwrap_err();
    assert!(
        error.contains("copilot/mailer/manifest.yml:") && error.contains("http: internal load balancers"),
        "{error}"
    );
    for (line, said) in [
        ("svc deploy --name nobody --env test", "there is no copilot/nobody/manifest.yml"),
        ("svc deploy --name front --env prod", "has no environment prod"),
        ("svc init --name w --svc-type \"Worker Service\" --image x", "Worker Service is not supported"),
        ("job init", "quarry job init: not supported"),
        ("pipeline deploy --name x", "your CI"),
        ("app show --name other", "there is no application other"),
    ] {
        let error = project.run(line).expect_err(line);
        assert!(error.contains(said), "{line}: {said} is not in\n{error}");
    }
    run("app delete --yes");
    assert_eq!(project.left_over(), Vec::<String>::new());
}

/// The questions of `quarry init`, answered in a pipe.
#[test]
fn the_menu_leads_to_a_deployed_service() {
    let project = Project::with(&["web"]);
    let said = project.answer("init", &["hello", "1", "web", "1", "y"]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("Your service is accessible at"), "{said}");
    project.answers(&project.url("web"), "/any", "web /any");
}

/// Another Quarry stands for AWS here, behind TLS with an authority of its own, in another region.
#[test]
fn an_environment_on_aws_is_confirmed_first_and_gets_the_same_templates() {
    let mut project = Project::with(&["web"]);
    let cloud = Platform::start_in(stage::EXE, "eu-west-1").unwrap();
    let relay = Relay::start(cloud.endpoint.trim_start_matches("http://").parse().unwrap(), &project.root());
    let variables = cloud.env().unwrap();
    let of = |name: &str| variables.iter().find(|(n, _)| n == name).unwrap().1.clone();
    let keys = format!(
        "[work]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY")
    );
    project.write("aws/credentials", &keys);
    project.write("aws/config", "[profile work]\nregion = eu-west-1\n[profile corp]\nsso_session = corp\n");
    project.export("AWS_CONFIG_FILE", project.root().join("aws/config").display().to_string());
    project.export("AWS_SHARED_CREDENTIALS_FILE", project.root().join("aws/credentials").display().to_string());
    project.export("AWS_ENDPOINT_URL", relay.url());
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("app init shop");
    run("env init --name test");
    for (line, said) in [
        ("env init --name prod --profile nobody", "there is no profile nobody"),
        ("env init --name prod --profile corp --region eu-west-1", "aws configure export-credentials --profile corp"),
        ("env init --name prod --region eu-west-1", "--profile NAME, or --aws"),
        // Nobody has said whom to believe.
        ("env init --name prod --profile work", "cannot connect to https://localhost"),
    ] {
        let error = project.run(line).expect_err(line);
        assert!(error.contains(said), "{line}: {said} is not in\n{error}");
    }
    project.export("AWS_CA_BUNDLE", relay.bundle.display().to_string());
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    let account = "AWS account 000000000000 in eu-west-1 (profile work), at https://localhost";
    let error = project.answer("env init --name prod --profile work", &["n"]).unwrap_err();
    assert!(error.contains(account) && error.contains("nothing was changed"), "{error}");
    assert!(!project.root().join("copilot/environments/prod").exists());
    assert_eq!(left_over(&cloud), Vec::<String>::new());
    run("env init --name prod --profile work --yes");
    let shown: Value = serde_json::from_str(&run("env show --name prod --json")).unwrap();
    assert_eq!(shown["environment"]["region"], "eu-west-1", "{shown}");
    assert_eq!(shown["environment"]["profile"], "work", "{shown}");

    // Whom to believe may stand in the profile, too.
    project.export("AWS_CA_BUNDLE", "");
    let profiles = format!("[profile work]\nregion = eu-west-1\nca_bundle = {}\n", relay.bundle.display());
    project.write("aws/config", &profiles);
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("svc init --name web --dockerfile web/Dockerfile --svc-type \"Load Balanced Web Service\"");
    run("svc deploy --env test");
    let error = project.answer("svc deploy --env prod", &["n"]).unwrap_err();
    assert!(error.contains(account) && error.contains("nothing was changed"), "{error}");
    run("svc deploy --env prod --yes");
    project.answers(&project.url_in("test", "web"), "/x", "web /x");
    project.answers(&project.url_in("prod", "web"), "/x", "web /x");
    // Nothing but the environment's name is different.
    let here = project.template("shop-test-web");
    assert_eq!(here.replace("test", "prod"), template(&cloud, "shop-prod-web"));
    let here = project.template("shop-test");
    assert_eq!(here.replace("test", "prod"), template(&cloud, "shop-prod"));

    let status: Value = serde_json::from_str(&run("svc status --env prod --json")).unwrap();
    assert_eq!(status["running"], 1, "{status}");
    assert!(run("svc logs --env prod").contains("listening on 3000"));
    assert_eq!(run("svc logs --env prod --filter nobody"), "");
    let shown: Value = serde_json::from_str(&run("svc show --name web --json")).unwrap();
    assert_eq!(shown["deployed"].as_array().map(Vec::len), Some(2), "{shown}");
    commands_run_by_the_aws_cli(&mut project, &relay.url());
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("svc delete --name web --env prod --yes");
    project.answers(&project.url_in("test", "web"), "/x", "web /x");
    run("app delete --yes");
    assert_eq!(project.left_over(), Vec::<String>::new());
    assert_eq!(left_over(&cloud), Vec::<String>::new());
}

/// `svc exec` on AWS. A program that tells how it was called stands for the aws CLI.
fn commands_run_by_the_aws_cli(project: &mut Project, endpoint: &str) {
    let line = "svc exec --env prod --command \"/bin/ls /data\"";
    let bin = project.root().join("bin");
    let called = |told: &str| {
        let words: Vec<&str> = told.lines().next().unwrap_or_default().split(' ').collect();
        let after = |option: &str| words.iter().position(|word| *word == option).map(|at| words[at + 1].to_owned());
        ["--cluster", "--task"].map(|option| after(option).unwrap_or_else(|| panic!("{option}: {told}")))
    };
    for (program, missing) in [("none", "aws"), ("aws", "session-manager-plugin")] {
        let telling = "#!/bin/sh\necho \"$@\"\necho \"endpoint=$AWS_ENDPOINT_URL for=$AWS_ENDPOINT_URL_ECS\"\nexit 7\n";
        project.program(&bin.join(program), telling);
        project.export("PATH", bin.display().to_string());
        let error = project.run(line).unwrap_err();
        assert!(error.contains(&format!("and {missing} is not here: install it (https://docs.aws.")), "{error}");
        let words =
            format!("aws ecs execute-command --region eu-west-1 --profile work --endpoint-url {endpoint} --cluster ");
        assert!(error.contains(&words) && error.contains("--interactive --command '/bin/ls /data'"), "{error}");
    }
    project.program(&bin.join("session-manager-plugin"), "#!/bin/sh\n");
    // What leads to this machine's Quarry is not handed on; the program's exit code is.
    let own = project.endpoint().to_owned();
    project.export("AWS_ENDPOINT_URL_ECS", own);
    let told = project.run(line).unwrap_err();
    assert!(told.contains("exit status: 7") && told.contains(&format!("endpoint={endpoint} for=\n")), "{told}");
    let told = told.split_once('\n').unwrap().1;
    let [cluster, task] = called(told);
    let words = format!(
        "ecs execute-command --region eu-west-1 --profile work --endpoint-url {endpoint} --cluster {cluster} --task {task} \
         --container web --interactive --command /bin/ls /data"
    );
    assert_eq!(told.lines().next(), Some(words.as_str()));
    let named = project.run(&format!("{line} --task-id {}", &task[..6])).unwrap_err();
    assert_eq!(called(named.split_once('\n').unwrap().1), [cluster, task]);
    let error = project.run(&format!("{line} --task-id nobody")).unwrap_err();
    assert!(error.contains("web has no task nobody"), "{error}");
    project.export("AWS_ENDPOINT_URL_ECS", "");
    project.export("PATH", std::env::var("PATH").unwrap());
}

/// The launch type EC2: container instances come with the environment, and the service's tasks are on them.
#[test]
fn tasks_run_on_container_instances() {
    let project = Project::with(&["web"]);
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("app init shop");
    run("env init --name test");
    run("svc init --name web --dockerfile web/Dockerfile --svc-type \"Load Balanced Web Service\"");
    project.edit("web", "cpu: 256", "launch_type: EC2\ncpu: 200");
    let error = project.run("svc deploy --env test").unwrap_err();
    assert!(error.contains("launch_type: tasks on container instances have no public addresses"), "{error}");
    project.edit("web", "  connect: true", "  connect: true\n  vpc: {placement: private}");
    let error = project.run("svc deploy --env test").unwrap_err();
    assert!(error.contains("the environment test has no container instances"), "{error}");
    project.edit("environments/test", "type: Environment", "type: Environment\ncontainer_instances: {range: 1-2}");
    run("env deploy --name test");
    run("svc deploy --env test");
    project.answers(&project.url("web"), "/x", "web /x");
    let listed: Value = serde_json::from_str(&run("ls --json")).unwrap();
    let instances = listed["container_instances"].as_array().cloned().unwrap_or_default();
    assert!(instances.iter().any(|instance| instance["running_tasks"] == 1), "{listed}");
    run("app delete --yes");
    assert_eq!(project.left_over(), Vec::<String>::new());
}

const COMPOSE: &str = "services:\n  web:\n    build: ./web\n    ports: [\"8080:3000\"]\n    environment: {BACK: \"back:3000\"}\n    \
    depends_on: [back]\n    stop_grace_period: 2s\n  back:\n    build: {context: back}\n    expose: [\"3000\"]\n    \
    volumes: [\"data:/data\"]\nvolumes: {data: }\n";

/// A Compose file's services run by their manifests as they were written, and find each other.
#[test]
fn a_compose_file_becomes_services_that_find_each_other() {
    let project = Project::with(&["stack/web", "stack/back"]);
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    project.write("stack/docker-compose.yml", COMPOSE);
    run("app init stack");
    run("env init --name test");
    let said = run("svc init --compose stack/docker-compose.yml");
    for line in [
        "✔ Wrote copilot/web/manifest.yml: Load Balanced Web Service, port 3000",
        "✔ Wrote copilot/back/manifest.yml: Backend Service, port 3000",
        "  stack/docker-compose.yml:3 services.web.build → image.build",
        "  stack/docker-compose.yml:6 services.web.depends_on: services start without an order: let it try again until the other \
         one answers",
    ] {
        assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
    }
    assert!(
        said.contains("stack/docker-compose.yml:11 services.back.volumes: what a task writes goes with the task"),
        "{said}"
    );
    run("svc deploy --name back --env test");
    run("svc deploy --name web --env test");
    let url = project.url("web");
    project.answers(&url, "/x", "web /x");
    assert!(project.get(&url, "/x").unwrap().lines().any(|line| line == "BACK=back:3000"));
    let said = project.get(&url, "/ask/back:3000").unwrap();
    assert!(said.contains("back /asked"), "{said}");
    let error = project.run("svc init --compose stack/docker-compose.yml").unwrap_err();
    assert!(error.contains("copilot/web/manifest.yml is there already"), "{error}");

    // A service that runs is written down, and goes on beside what is made of that.
    let (cluster, service) = project.running("stack-test-web");
    let said = run(&format!("svc adopt --cluster {cluster} --service {service} --name twin"));
    assert!(said.contains("✔ Wrote the manifest for service twin at copilot/twin/manifest.yml"), "{said}");
    assert!(said.contains("service.networkConfiguration: the environment has its own VPC"), "{said}");
    project.edit("twin", "http:\n  path: /\n", "http:\n  path: twin\n");
    run("svc deploy --name twin --env test");
    project.answers(&url, "/twin/x", "twin /twin/x");
    project.answers(&url, "/x", "web /x");
    let error = project.run("svc adopt --cluster nowhere --service x --name other").unwrap_err();
    assert!(error.contains("Cluster not found"), "{error}");
}
