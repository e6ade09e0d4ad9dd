//! Everything that is done in the console: asked for, shown as a line of a shell, confirmed; its effect as the APIs tell it.

use crate::person::{Person, ask};
use crate::site::Site;
use quarry_aws::ecs::op as ecs;
use quarry_aws::elbv2::op as elbv2;
use quarry_aws::{cloudformation, ecr};
use quarry_testkit::{client_program, wait_for};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

pub fn all(site: &Site, person: &Person<'_>, front: SocketAddr) {
    wait_for("an answer", || site.answered::<ecs::ListClusters>(json!({})));
    update(site, person);
    rules(site, person);
    requests(person, front);
    service(site, person);
    cuts(person);
    registry(site, person);
    goodbye(site, person);
    person.checks_lines(&site.platform);
}

fn described(site: &Site, name: &str) -> quarry_aws::ecs::Service {
    let input = json!({"cluster": "demo", "services": [name]});
    site.call::<ecs::DescribeServices>(input).services.unwrap().remove(0)
}

/// The number of tasks: the line that is shown does the same as the button, and the page follows.
fn update(site: &Site, person: &Person<'_>) {
    let service = || described(site, "shop");
    person.goes_to("/clusters/demo/services/shop");
    person.types("#update input[name=desired]", "3");
    person.clicks("#update button");
    let line = "aws ecs update-service --cluster demo --desired-count 3 --service shop";
    assert_eq!(person.browser.text(".copy code"), line);
    assert_eq!(service().desired_count, Some(2), "nothing is done before it is confirmed");
    person.looks("review", &["The same from a shell", "Confirm", "Cancel"]);
    person.confirms(line);
    assert_eq!(service().desired_count, Some(3));
    assert!(person.sees(".said").contains("shop is being updated"));
    // The page shows the third task without being loaded again, or taking the focus away.
    let focused = "#service a[href^='/target-groups/']";
    person.browser.script(&format!("window.same = true; document.querySelector({}).focus()", json!(focused)));
    wait_for("three tasks run", || (service().running_count == Some(3)).then_some(()));
    wait_for("the page follows", || person.sees("#service").contains("3 of 3 running").then_some(()));
    let same = format!("return window.same === true && document.activeElement.matches({})", json!(focused));
    assert_eq!(person.browser.script(&same), json!(true));
    if let Some(aws) = client_program("aws") {
        let words: Vec<&str> = line.split(' ').skip(1).map(|w| if w == "3" { "1" } else { w }).collect();
        let mut command = Command::new(aws);
        command.args(words).envs(site.platform.env().unwrap()).env_remove("AWS_PROFILE");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(service().desired_count, Some(1));
    }
}

fn balancer(site: &Site) -> String {
    let found = site.call::<elbv2::DescribeLoadBalancers>(json!({"Names": ["demo"]}));
    found.load_balancers.unwrap().remove(0).load_balancer_arn.unwrap()
}

fn listeners(site: &Site) -> Vec<quarry_aws::elbv2::Listener> {
    site.call::<elbv2::DescribeListeners>(json!({"LoadBalancerArn": balancer(site)})).listeners.unwrap()
}

fn group(site: &Site, name: &str) -> String {
    let found = site.call::<elbv2::DescribeTargetGroups>(json!({"Names": [name]}));
    found.target_groups.unwrap().remove(0).target_group_arn.unwrap()
}

/// The rules of the first listener in their order.
fn rules_of(site: &Site) -> Vec<quarry_aws::elbv2::Rule> {
    let listener = listeners(site).remove(0).listener_arn;
    let mut rules = site.call::<elbv2::DescribeRules>(json!({"ListenerArn": listener})).rules.unwrap();
    rules.sort_by_key(|rule| rule.priority.as_ref().unwrap().parse::<u32>().unwrap_or(u32::MAX));
    rules
}

fn rules(site: &Site, person: &Person<'_>) {
    let listener = listeners(site).remove(0).listener_arn.unwrap();
    let paths = || -> Vec<String> {
        let all = rules_of(site).into_iter().filter_map(|rule| rule.conditions?.into_iter().next()?.values?.pop());
        all.collect()
    };
    let arn = |place: usize| rules_of(site).remove(place).rule_arn.unwrap();
    let (users, threads) = (group(site, "users"), group(site, "threads"));
    assert_eq!(paths(), ["/api/users*", "/api/threads*"]);
    // The second becomes the first.
    person.goes_to("/load-balancers/demo");
    let (first, second) = (arn(0), arn(1));
    person.clicks("#rules button[aria-label='Move rule 2 earlier']");
    let pair = |rule: &str, priority: u32| format!(r#"{{"Priority":{priority},"RuleArn":"{rule}"}}"#);
    let pairs = format!("[{},{}]", pair(&second, 1), pair(&first, 2));
    person.confirms(&format!("aws elbv2 set-rule-priorities --rule-priorities '{pairs}'"));
    assert_eq!(paths(), ["/api/threads*", "/api/users*"]);
    // One more.
    let unfold = || person.browser.script("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    unfold();
    person.types("form[action='/do/create-rule'] input[name=paths]", "/new*");
    person.chooses("form[action='/do/create-rule'] select[name=group]", &users);
    person.asks("create-rule");
    let forward = |group: &str| format!(r#"[{{"TargetGroupArn":"{group}","Type":"forward"}}]"#);
    let condition = |path: &str| format!(r#"[{{"Field":"path-pattern","PathPatternConfig":{{"Values":["{path}"]}}}}]"#);
    person.confirms(&format!(
        "aws elbv2 create-rule --actions '{}' --conditions '{}' --listener-arn {listener} --priority 3",
        forward(&users),
        condition("/new*")
    ));
    assert_eq!(paths(), ["/api/threads*", "/api/users*", "/new*"]);
    // It gets another path, and two target groups by weight.
    unfold();
    let form = "#rules tr:nth-of-type(3) form[action='/do/modify-rule']";
    person.types(&format!("{form} input[name=paths]"), "/newer*");
    person.types(&format!("{form} input[name=weight]"), "3");
    person.chooses(&format!("{form} select[name=second]"), &threads);
    person.types(&format!("{form} input[name=second_weight]"), "1");
    person.clicks(&format!("{form} button"));
    let tuple = |group: &str, weight: u32| format!(r#"{{"TargetGroupArn":"{group}","Weight":{weight}}}"#);
    let weighted = format!("{},{}", tuple(&users, 3), tuple(&threads, 1));
    person.confirms(&format!(
        r#"aws elbv2 modify-rule --actions '[{{"ForwardConfig":{{"TargetGroups":[{weighted}]}},"Type":"forward"}}]' --conditions '{}' --rule-arn {}"#,
        condition("/newer*"),
        arn(2)
    ));
    let rule = rules_of(site).remove(2);
    let tuples = rule.actions.unwrap().remove(0).forward_config.unwrap().target_groups.unwrap();
    assert_eq!(tuples.iter().map(|tuple| tuple.weight).collect::<Vec<_>>(), [Some(3), Some(1)]);
    assert_eq!(paths()[2], "/newer*");
    // The default rule leads elsewhere, and back.
    let peer = group(site, "peer");
    for to in [&threads, &peer] {
        unfold();
        person.chooses("form[action='/do/modify-default'] select[name=group]", to);
        person.asks("modify-default");
        let line = format!("aws elbv2 modify-listener --default-actions '{}' --listener-arn {listener}", forward(to));
        person.confirms(&line);
        assert_eq!(rules_of(site).pop().unwrap().actions.unwrap().remove(0).target_group_arn.as_ref(), Some(to));
    }
    let gone = arn(2);
    person.clicks("#rules tr:nth-of-type(3) form[action='/do/delete-rule'] button");
    person.confirms(&format!("aws elbv2 delete-rule --rule-arn {gone}"));
    assert_eq!(paths().len(), 2);
}

/// From a line of the access log to its trace by one click.
fn requests(person: &Person<'_>, front: SocketAddr) {
    person.goes_to("/load-balancers/demo/requests");
    person.looks("requests-off", &["Its access log is off"]);
    person.asks("access-log");
    person.confirms_what(|line| {
        assert!(
            line.starts_with("aws elbv2 modify-load-balancer-attributes --attributes '[{\"Key\":\"access_logs"),
            "{line}"
        );
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let recorded = format!("X-Amzn-Trace-Id: Root=1-{now:08x}-36d228ad5d99923122bbe354;Sampled=1\r\n");
    for path in ["/api/users?asked=here", "/api/nobody"] {
        ask(&front.to_string(), "GET", path, &recorded, "");
    }
    let traced = "#requests a[href^='/traces/']";
    wait_for("a request with a trace", || {
        person.goes_to("/load-balancers/demo/requests?order=slowest&find=asked%3Dhere");
        (!person.browser.texts(traced).is_empty()).then_some(())
    });
    person.looks("requests", &["GET /api/users?asked=here", "users", "Trace"]);
    assert!(!person.sees("#requests").contains("/api/nobody"));
    person.clicks(traced);
    wait_for("its trace", || person.sees("#spans").contains("/api/users").then_some(()));
    person.looks("trace-of-a-request", &["demo", "Waterfall"]);
}

/// A target group, a listener and a service are made; its tasks are stopped and deregistered; all is deleted.
fn service(site: &Site, person: &Person<'_>) {
    person.goes_to("/target-groups");
    person.types("#create input[name=name]", "extra");
    person.chooses("#create select[name=target_type]", "ip");
    person.types("#create input[name=timeout]", "2");
    person.asks("create-target-group");
    person.confirms(&format!(
        "aws elbv2 create-target-group --health-check-interval-seconds 6 --health-check-path / \
         --health-check-timeout-seconds 2 --healthy-threshold-count 2 --name extra --port 80 --protocol HTTP \
         --target-type ip --unhealthy-threshold-count 2 --vpc-id {}",
        site.vpc
    ));
    let extra = group(site, "extra");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    person.goes_to("/load-balancers/demo");
    person.browser.script("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    person.types("form[action='/do/create-listener'] input[name=port]", &port.to_string());
    person.chooses("form[action='/do/create-listener'] select[name=group]", &extra);
    person.asks("create-listener");
    let actions = format!(r#"'[{{"TargetGroupArn":"{extra}","Type":"forward"}}]'"#);
    let balancer = balancer(site);
    person.confirms(&format!(
        "aws elbv2 create-listener --default-actions {actions} --load-balancer-arn {balancer} --port {port} --protocol HTTP"
    ));
    let listener = listeners(site).into_iter().find(|one| one.port == Some(i32::from(port))).expect("it listens");

    person.goes_to("/clusters/demo/create-service");
    for (field, value) in [("service", "extra"), ("container", "peer"), ("port", "3000")] {
        person.types(&format!("#create input[name={field}]"), value);
    }
    person.types("#create input[name=subnets]", &site.subnets[0]);
    for (choice, value) in [("definition", "shop:2"), ("launch_type", "FARGATE"), ("group", &extra)] {
        person.chooses(&format!("#create select[name={choice}]"), value);
    }
    person.asks("create-service");
    person.confirms_what(|line| {
        let begins = "aws ecs create-service --cluster demo --desired-count 1 --launch-type FARGATE --load-balancers '";
        assert!(line.starts_with(begins), "{line}");
        for part in ["--service-name extra", "--task-definition shop:2", &site.subnets[0], "\"containerPort\":3000"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    });
    let running = || -> Option<String> {
        let task = site.tasks("extra").into_iter().find(|task| task.last_status.as_deref() == Some("RUNNING"))?;
        Some(task.task_arn?.rsplit('/').next()?.to_owned())
    };
    let task = wait_for("the new service runs", running);
    wait_for("its page shows that", || {
        person.goes_to("/clusters/demo/services/extra");
        person.sees("#tasks").contains("RUNNING").then_some(())
    });

    person.goes_to(&format!("/clusters/demo/tasks/{task}"));
    person.types("#stop input[name=reason]", "looked at");
    person.asks("stop-task");
    person.confirms(&format!("aws ecs stop-task --cluster demo --reason 'looked at' --task {task}"));
    let reason = || {
        let input = json!({"cluster": "demo", "tasks": [task]});
        site.call::<ecs::DescribeTasks>(input).tasks.unwrap().remove(0).stopped_reason
    };
    wait_for("it was stopped", || (reason().as_deref() == Some("looked at")).then_some(()));

    // Another task takes its place; its target is deregistered.
    wait_for("a new task", || running().filter(|other| *other != task));
    let health = || {
        let input = json!({"TargetGroupArn": extra});
        site.call::<elbv2::DescribeTargetHealth>(input).target_health_descriptions.unwrap()
    };
    let state = |target: &quarry_aws::elbv2::TargetHealthDescription| {
        target.target_health.as_ref().and_then(|health| health.state.clone()).unwrap_or_default()
    };
    let target = wait_for("a target", || health().into_iter().find(|target| state(target) != "draining"));
    let target = target.target.unwrap().id.unwrap();
    person.goes_to("/target-groups/extra");
    person.chooses("#deregister select", &format!("{target} 3000"));
    person.asks("deregister-target");
    let targets = format!(r#"'[{{"Id":"{target}","Port":3000}}]'"#);
    person.confirms(&format!("aws elbv2 deregister-targets --target-group-arn {extra} --targets {targets}"));
    wait_for("it takes no request any more", || {
        let of = |one: &quarry_aws::elbv2::TargetHealthDescription| one.target.as_ref()?.id.clone();
        let found = health().into_iter().find(|one| of(one).as_ref() == Some(&target));
        found.is_none_or(|one| state(&one) == "draining").then_some(())
    });

    person.goes_to("/clusters/demo/services/extra");
    person.clicks("#delete input[name=force]");
    person.asks("delete-service");
    person.confirms("aws ecs delete-service --cluster demo --force --service extra");
    wait_for("the service goes", || (described(site, "extra").status.as_deref() != Some("ACTIVE")).then_some(()));

    person.goes_to("/load-balancers/demo");
    let arn = listener.listener_arn.unwrap();
    person.clicks(&format!("form[action='/do/delete-listener']:has(input[value='{arn}']) button"));
    person.confirms(&format!("aws elbv2 delete-listener --listener-arn {arn}"));
    assert_eq!(listeners(site).len(), 1);
    person.goes_to("/target-groups/extra");
    person.asks("delete-target-group");
    person.confirms(&format!("aws elbv2 delete-target-group --target-group-arn {extra}"));
    let groups = site.call::<elbv2::DescribeTargetGroups>(json!({})).target_groups.unwrap();
    assert!(groups.iter().all(|group| group.target_group_name.as_deref() != Some("extra")));
}

/// A path without data moves as far as the shadow, on to the new service, back, there again, and stays; another is given up.
fn cuts(person: &Person<'_>) {
    let begin = |from: &str, to: &str| {
        person.goes_to("/cuts");
        for (field, value) in [("scope", "env"), ("paths", "/env/*")] {
            person.types(&format!("#run input[name={field}]"), value);
        }
        for (choice, value) in [("from", from), ("to", to), ("data", "none"), ("until", "SHADOW")] {
            person.chooses(&format!("#run select[name={choice}]"), value);
        }
        person.asks("cut-run");
    };
    let comes_to = |name: &str, expected: &str, decision: &str| {
        wait_for(name, || {
            person.again();
            (person.sees("#cut").contains(expected) && person.sees("#decide").contains(decision)).then_some(())
        });
    };
    let decides = |action: &str, word: &str| {
        person.asks(action);
        person.confirms_what(|line| assert!(line.starts_with(&format!("quarry cut {word} cut-")), "{line}"));
    };
    begin("demo/shop", "demo/users");
    let line = "quarry cut run env --from demo/shop --to demo/users --path '/env/*' --no-data --until shadow";
    assert_eq!(person.browser.text(".copy code"), line);
    person.looks("cut-plan", &["States to come", "SHADOW"]);
    person.confirms(line);
    person.clicks("#all table a");
    // The first time as the page follows it.
    wait_for("the cut waits", || person.sees("#cut").contains("Reached").then_some(()));
    wait_for("there is something to decide", || person.sees("#decide").contains("Go on").then_some(()));
    person.looks("cut", &["shop", "users", "Journal", "reads compared", "Go on", "Abort"]);
    decides("cut-resume", "resume");
    comes_to("the new service owns the path", "WATCH", "Roll back");
    person.looks("cut-watch", &["Finish", "Roll back"]);
    decides("cut-rollback", "rollback");
    comes_to("the old service owns it again", "RolledBack", "Go on");
    decides("cut-resume", "resume");
    comes_to("the new service owns it for good", "WATCH", "Finish");
    decides("cut-finish", "finish");
    comes_to("the cut has ended", "FINISHED", "");

    // What cannot be is not offered; the way back is another cut.
    begin("demo/shop", "demo/users");
    assert!(person.browser.text("[role=alert]").contains("does not send them to the source"));
    assert!(person.browser.texts("button.main").is_empty());
    begin("demo/users", "demo/shop");
    person.confirms("quarry cut run env --from demo/users --to demo/shop --path '/env/*' --no-data --until shadow");
    person.clicks("#all table a");
    comes_to("the other cut waits", "Reached", "Abort");
    decides("cut-abort", "abort");
    comes_to("it was given up", "ABORTED", "");
}

fn registry(site: &Site, person: &Person<'_>) {
    let names = || -> Vec<String> {
        let all = site.call::<ecr::op::DescribeRepositories>(json!({})).repositories.unwrap();
        all.into_iter().filter_map(|repository| repository.repository_name).collect()
    };
    person.goes_to("/repositories");
    person.types("input[name=name]", "fresh");
    person.asks("create-repository");
    person.confirms("aws ecr create-repository --repository-name fresh");
    assert!(names().contains(&"fresh".to_owned()));
    assert_eq!(person.sees("h1"), "fresh");
    person.asks("delete-repository");
    person.confirms("aws ecr delete-repository --repository-name fresh");
    assert!(!names().contains(&"fresh".to_owned()));
    // Tasks that run need their image no more.
    let images = || site.call::<ecr::op::DescribeImages>(json!({"repositoryName": "peer"})).image_details.unwrap();
    let digest = images().remove(0).image_digest.unwrap();
    person.goes_to("/repositories/peer");
    person.asks("delete-image");
    let ids = format!(r#"'[{{"imageDigest":"{digest}"}}]'"#);
    person.confirms(&format!("aws ecr batch-delete-image --image-ids {ids} --repository-name peer"));
    assert!(images().is_empty());
}

fn goodbye(site: &Site, person: &Person<'_>) {
    person.goes_to("/stacks/small");
    person.asks("delete-stack");
    person.confirms("aws cloudformation delete-stack --stack-name small");
    wait_for("the stack is gone", || {
        let stacks = site.call::<cloudformation::op::DescribeStacks>(json!({})).stacks.unwrap();
        stacks.is_empty().then_some(())
    });
    person.goes_to("/task-definitions/shop/1");
    person.asks("deregister-task-definition");
    person.confirms("aws ecs deregister-task-definition --task-definition shop:1");
    let input = json!({"taskDefinition": "shop:1"});
    let definition = site.call::<ecs::DescribeTaskDefinition>(input).task_definition.unwrap();
    assert_eq!(definition.status.as_deref(), Some("INACTIVE"));
    site.call::<ecs::CreateCluster>(json!({"clusterName": "spare"}));
    person.goes_to("/clusters/spare");
    person.asks("delete-cluster");
    person.confirms("aws ecs delete-cluster --cluster spare");
    let spare = site.call::<ecs::DescribeClusters>(json!({"clusters": ["spare"]})).clusters.unwrap().pop();
    assert!(spare.is_none_or(|cluster| cluster.status.as_deref() == Some("INACTIVE")));
    // What is refused says why, in AWS's words, and nothing is gone.
    person.goes_to("/target-groups/peer");
    person.asks("delete-target-group");
    person.clicks("button.main");
    assert!(person.browser.text("[role=alert]").contains("ResourceInUse"));
    let arn = balancer(site);
    person.goes_to("/load-balancers/demo");
    person.asks("delete-load-balancer");
    person.confirms(&format!("aws elbv2 delete-load-balancer --load-balancer-arn {arn}"));
    let left: Vec<Value> = site
        .call::<elbv2::DescribeLoadBalancers>(json!({}))
        .load_balancers
        .unwrap()
        .into_iter()
        .map(|one| json!(one.load_balancer_name))
        .collect();
    assert_eq!(left, [json!(null); 0]);
}
