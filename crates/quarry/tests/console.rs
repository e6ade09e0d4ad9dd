//! The console: who may see it, and every page and action of it as a person uses them, in headless Chromium.
//!
//! `CONSOLE_SCREENSHOTS=<directory>` keeps pictures. axe-core (npm) looks at each page where it is installed:
//! `AXE_CORE=<path of axe.min.js>`, in `target/axe` (`npm install --prefix target/axe axe-core`), or in npm's global folder.

#[path = "console/axe.rs"]
mod axe;
#[path = "console/person.rs"]
mod person;
#[path = "network/site.rs"]
mod site;

use person::{Person, Visitor, ask, link};
use quarry_aws::ecs::op as ecs;
use quarry_aws::elbv2::op as elbv2;
use quarry_testkit::browser::Browser;
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::{Value, json};
use site::{Site, get};
use std::process::Command;

const EXE: &str = env!("CARGO_BIN_EXE_quarry");
/// The end of a trace's id.
const TRACE: &str = "a006649127e371903a2de979";

#[test]
fn only_whoever_has_a_link_or_a_key_sees_it() {
    let platform = Platform::start(EXE).unwrap();
    let console = platform.serving().unwrap()["console"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let get = |path: &str, headers: &str| ask(&console, "GET", path, headers, "");

    let refused = get("/", "");
    assert!(refused.starts_with("HTTP/1.1 303") && refused.contains("location: /sign-in"), "{refused}");
    assert!(get("/live?of=%2F", "").starts_with("HTTP/1.1 403"));
    for wrong in ["/sign-in?token=", "/sign-in?token=1-2-3", "/sign-in"] {
        assert!(!get(wrong, "").to_lowercase().contains("set-cookie"), "{wrong}");
    }

    // A link is good once.
    let link = link(&platform);
    let path = link.split_once(&console).unwrap().1;
    let signed_in = get(path, "Sec-Fetch-Site: cross-site\r\n");
    let cookie = signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(get(path, "").starts_with("HTTP/1.1 403"));
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let shown = get("/", &cookie);
    assert!(shown.starts_with("HTTP/1.1 200") && shown.contains("<title>Overview"), "{shown}");
    for expected in ["content-security-policy: default-src 'none'", "cache-control: no-store", "x-frame-options: DENY"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(!shown.contains("http://evil") && !shown.contains("<style") && !shown.contains("onclick"));

    // Neither another site's page nor a form without the session's token changes anything.
    for foreign in ["Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n", "Origin: http://127.0.0.1\r\n"] {
        assert!(get("/", &format!("{cookie}{foreign}")).starts_with("HTTP/1.1 403"), "{foreign}");
    }
    let named = get("/", &format!("{cookie}Host: evil.example\r\n"));
    assert!(named.starts_with("HTTP/1.1 40"), "{named}");
    let form = "confirmed=yes&name=forged";
    for (headers, body) in
        [(cookie.as_str(), form.to_owned()), (&cookie, format!("{form}&token=guess")), ("", form.into())]
    {
        let posted = ask(&console, "POST", "/do/create-repository", headers, &body);
        assert!(posted.starts_with("HTTP/1.1 403"), "{posted}");
    }
    let token = shown.split_once("name=\"token\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let made = ask(&console, "POST", "/do/create-repository", &cookie, &format!("{form}&token={token}"));
    assert!(made.starts_with("HTTP/1.1 303") && made.contains("location: /repositories/forged"), "{made}");
    let again = ask(&console, "POST", "/do/create-repository", &cookie, &format!("{form}&token={token}"));
    assert!(again.starts_with("HTTP/1.1 409") && again.contains("RepositoryAlreadyExistsException"), "{again}");
    assert!(get("/no/such/page", &cookie).starts_with("HTTP/1.1 404"));
    assert!(get("/clusters/none", &cookie).starts_with("HTTP/1.1 404"));

    // By an access key; and out again.
    let env = platform.env().unwrap();
    let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
    let key = |secret: &str| format!("access_key_id={}&secret_access_key={secret}", value("AWS_ACCESS_KEY_ID"));
    assert!(ask(&console, "POST", "/sign-in", "", &key("wrong")).starts_with("HTTP/1.1 403"));
    assert!(ask(&console, "POST", "/sign-in", "", &key(&value("AWS_SECRET_ACCESS_KEY"))).contains("set-cookie: "));
    let out = ask(&console, "POST", "/sign-out", &cookie, &format!("token={token}"));
    assert!(out.starts_with("HTTP/1.1 303"), "{out}");
    assert!(get("/", &cookie).starts_with("HTTP/1.1 303"));
}

#[test]
fn many_tasks_are_shown_page_by_page() {
    let site = Site::on(Platform::start(EXE).unwrap());
    let definition = site.define("missing", json!([{"name": "missing", "image": "127.0.0.1:1/missing:v1"}]), json!({}));
    // As the machine has room for them.
    let mut started = 0;
    wait_for("sixty tasks were started", || {
        let ran = site.call::<ecs::RunTask>(json!({
            "cluster": "demo", "taskDefinition": definition, "launchType": "FARGATE", "count": 10.min(60 - started),
            "networkConfiguration": site.network(),
        }));
        started += ran.tasks.unwrap_or_default().len();
        (started == 60).then_some(())
    });
    let visitor = Visitor::signs_in(&site.platform);
    let rows = |page: &str| page.matches("/clusters/demo/tasks/").count();
    wait_for("all have stopped", || {
        let stopped = site.call::<ecs::ListTasks>(json!({"cluster": "demo", "desiredStatus": "STOPPED"}));
        (stopped.task_arns.unwrap().len() == 60).then_some(())
    });
    let first = visitor.get("/clusters/demo/tasks?status=STOPPED");
    assert_eq!(rows(&first), 50, "{first}");
    let next = first
        .split_once("rel=\"next\" href=\"")
        .expect("more follow")
        .1
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&");
    assert!(first.contains("CannotPullContainerError"));
    let last = wait_for("the rest", || Some(visitor.get(&next)).filter(|page| rows(page) == 10));
    assert!(last.contains("First page") && !last.contains("Next page"));
}

/// A service of two tasks behind a load balancer, a namespace's worth of everything else.
fn furnish() -> (Site, std::net::SocketAddr) {
    let platform = Platform::start_as(EXE, None, &["--scaling-speed", "60"]).unwrap();
    let site = Site::on(platform);
    let container = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let options = json!({"awslogs-group": "/ecs/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "shop"});
    site.call::<quarry_aws::logs::op::CreateLogGroup>(json!({"logGroupName": "/ecs/shop"}));
    let mut logging = container.clone();
    logging[0]["logConfiguration"] = json!({"logDriver": "awslogs", "options": options});
    use quarry_aws::{cloudformation, cloudwatch, iam, servicediscovery};
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]});
    let role = json!({"RoleName": "shop", "AssumeRolePolicyDocument": trust.to_string()});
    let role = site.call::<iam::op::CreateRole>(role).role.unwrap().arn;
    let policy = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
    site.call::<iam::op::AttachRolePolicy>(json!({"RoleName": "shop", "PolicyArn": policy}));
    site.define("shop", container, json!({}));
    let definition = site.define("shop", logging, json!({"executionRoleArn": role}));
    let (group, front) = site.balance();
    let serve = |service: &str, group: &str, tasks: i32| {
        site.call::<ecs::CreateService>(json!({
            "cluster": "demo", "serviceName": service, "taskDefinition": definition, "desiredCount": tasks,
            "launchType": "FARGATE", "networkConfiguration": site.network(),
            "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
        }));
    };
    serve("shop", &group, 2);
    let arn = site.call::<elbv2::DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0).load_balancer_arn;
    let listener = site.call::<elbv2::DescribeListeners>(json!({"LoadBalancerArn": arn})).listeners.unwrap().remove(0);
    for (priority, name, tasks) in [(1, "users", 1), (2, "threads", 2)] {
        let made = site.call::<elbv2::CreateTargetGroup>(json!({
            "Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": site.vpc, "TargetType": "ip",
            "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
        }));
        let group = made.target_groups.unwrap().remove(0).target_group_arn.unwrap();
        site.call::<elbv2::CreateRule>(json!({
            "ListenerArn": listener.listener_arn, "Priority": priority,
            "Conditions": [{"Field": "path-pattern", "Values": [format!("/api/{name}*")]}],
            "Actions": [{"Type": "forward", "TargetGroupArn": group}],
        }));
        serve(name, &group, tasks);
    }
    let template = json!({"Resources": {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "stacked"}}},
        "Outputs": {"Name": {"Value": {"Ref": "Group"}}}});
    site.call::<cloudformation::op::CreateStack>(json!({"StackName": "small", "TemplateBody": template.to_string()}));
    site.call::<servicediscovery::op::CreatePrivateDnsNamespace>(json!({"Name": "demo.local", "Vpc": site.vpc}));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let segment = json!({"trace_id": format!("1-{now:08x}-{TRACE}"), "id": "53995c3f42cd8ad8", "name": "shop",
        "start_time": now - 2, "end_time": now - 1, "http": {"request": {"method": "GET", "url": "http://shop/slow"},
        "response": {"status": 200}}, "subsegments": [{"id": "53995c3f42cd8ad9", "name": "books",
        "namespace": "remote", "start_time": now - 2, "end_time": now - 1}]});
    site.call::<quarry_aws::xray::op::PutTraceSegments>(json!({"TraceSegmentDocuments": [segment.to_string()]}));
    site.call::<cloudwatch::op::PutMetricAlarm>(json!({
        "AlarmName": "busy", "Namespace": "AWS/ECS", "MetricName": "CPUUtilization", "Statistic": "Average",
        "Dimensions": [{"Name": "ClusterName", "Value": "demo"}, {"Name": "ServiceName", "Value": "shop"}],
        "Period": 60, "EvaluationPeriods": 1, "Threshold": 80.0, "ComparisonOperator": "GreaterThanThreshold",
    }));
    for path in ["/env/HOME", "/api/users", "/api/threads"] {
        wait_for(path, || get(front, path).filter(|(status, _)| *status < 500));
    }
    (site, front)
}

#[test]
fn a_person_looks_at_every_page_and_does_what_the_tutorial_does() {
    let Some(browser) = Browser::start() else { return };
    let (site, front) = furnish();
    let person = Person::sits_down(&browser, &site.platform);
    wait_for("traffic is on the drawing", || {
        for path in ["/env/HOME", "/api/users", "/api/threads", "/api/users/1"].repeat(5) {
            get(front, path);
        }
        person.goes_to("/");
        person.sees("main svg").contains("/min").then_some(())
    });
    person.looks("overview", &["shop", "demo", "peer", "2 of 2 healthy", "path /api/users*"]);
    // 200 ms where the machine has time, and the program is optimized.
    assert!(person.paints_within(3000), "the first paint takes longer");

    let namespace = {
        let listed = site.call::<quarry_aws::servicediscovery::op::ListNamespaces>(json!({}));
        listed.namespaces.unwrap().remove(0).id.unwrap()
    };
    let task = site.tasks("shop").remove(0).task_arn.unwrap().rsplit('/').next().unwrap().to_owned();
    for (path, name, expected) in [
        ("/clusters", "clusters", &["demo", "ACTIVE"][..]),
        ("/clusters/demo", "cluster", &["shop", "Running tasks", "Create a service"]),
        ("/clusters/demo/services/shop", "service", &["Deployments", "COMPLETED", "steady state", "shop:2", "peer"]),
        ("/clusters/demo/services/shop/logs", "logs", &["Filter pattern"]),
        ("/clusters/demo/tasks", "tasks", &["RUNNING", "shop:2"]),
        (&format!("/clusters/demo/tasks/{task}"), "task", &["Containers", "peer", "Stop this task", "quarry exec"]),
        ("/clusters/demo/create-service", "create-service", &["Service name", "Target group"]),
        ("/task-definitions", "task-definitions", &["shop"]),
        ("/task-definitions/shop", "family", &["shop:2", "what differs from 1"]),
        (
            "/task-definitions/shop/2?with=1",
            "differences",
            &["containerDefinitions[peer].logConfiguration.logDriver", "awslogs"],
        ),
        ("/load-balancers", "load-balancers", &["demo", "active", "http://"]),
        (
            "/load-balancers/demo",
            "load-balancer",
            &["path /api/users*", "forward to users", "default", "Response time"],
        ),
        ("/target-groups", "target-groups", &["peer", "2 of 2"]),
        ("/target-groups/peer", "target-group", &["healthy", "deregistration_delay.timeout_seconds"]),
        ("/repositories", "repositories", &["peer"]),
        ("/repositories/peer", "repository", &["v1", "docker push", "sha256:"]),
        ("/stacks", "stacks", &["small"]),
        ("/stacks/small", "stack", &["AWS::Logs::LogGroup", "CREATE_COMPLETE", "stacked"]),
        ("/namespaces", "namespaces", &["demo.local", "DNS_PRIVATE"]),
        (&format!("/namespaces/{namespace}"), "namespace", &["demo.local"]),
        ("/roles", "roles", &["shop", "ecs-tasks.amazonaws.com"]),
        ("/roles/shop", "role", &["Trust policy", "sts:AssumeRole"]),
        ("/logs", "log-groups", &["stacked"]),
        ("/logs/stacked", "log-group", &["No line in this time"]),
        ("/alarms", "alarms", &["busy", "CPUUtilization > 80"]),
        ("/alarms/busy", "alarm", &["ClusterName demo"]),
        ("/cuts", "cuts", &["Begin a cut"]),
    ] {
        person.goes_to(path);
        person.looks(name, expected);
    }
    person.goes_to("/traces?filter=responsetime+%3E%3D+1");
    person.looks("traces", &["shop", "http://shop/slow"]);
    person.clicks(&format!("#traces a[href$='{TRACE}']"));
    wait_for("the trace", || person.sees("#spans").contains("books").then_some(()));
    person.looks("trace", &["shop", "GET http://shop/slow → 200"]);
    acts(&site, &person);
    person.leaves();
    browser.quit();
}

/// The tutorial's steps in the console.
fn acts(site: &Site, person: &Person<'_>) {
    let service = || {
        let input = json!({"cluster": "demo", "services": ["shop"]});
        site.call::<ecs::DescribeServices>(input).services.unwrap().remove(0)
    };
    // One task more: the line that is shown does the same as the button.
    person.goes_to("/clusters/demo/services/shop");
    person.types("#update input[name=desired]", "3");
    person.clicks("#update button");
    let line = person.browser.text(".copy code");
    assert_eq!(line, "aws ecs update-service --cluster demo --desired-count 3 --service shop");
    assert_eq!(service().desired_count, Some(2), "nothing is done before it is confirmed");
    person.looks("review", &["The same from a shell", "Confirm", "Cancel"]);
    person.clicks("button.main");
    wait_for("the service was updated", || (service().desired_count == Some(3)).then_some(()));
    assert!(person.browser.text(".said").contains("shop is being updated"));
    // The page shows the third task without being loaded again.
    person.browser.script("window.same = true");
    wait_for("three tasks run", || (service().running_count == Some(3)).then_some(()));
    wait_for("the page follows", || person.sees("#service").contains("3 of 3 running").then_some(()));
    assert_eq!(person.browser.script("return window.same === true"), json!(true));
    if let Some(aws) = client_program("aws") {
        let words: Vec<&str> = line.split(' ').skip(1).map(|w| if w == "3" { "1" } else { w }).collect();
        let mut command = Command::new(aws);
        command.args(words).envs(site.platform.env().unwrap()).env_remove("AWS_PROFILE");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(service().desired_count, Some(1));
    }

    // Rules in order: the second becomes the first; one more; that is deleted again.
    let rules = || -> Vec<String> {
        let found = site.call::<elbv2::DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0);
        let input = json!({"LoadBalancerArn": found.load_balancer_arn});
        let listener = site.call::<elbv2::DescribeListeners>(input).listeners.unwrap().remove(0);
        let rules = site.call::<elbv2::DescribeRules>(json!({"ListenerArn": listener.listener_arn})).rules.unwrap();
        let mut rules: Vec<Value> = rules.iter().map(|rule| serde_json::to_value(rule).unwrap()).collect();
        rules.sort_by_key(|rule| rule["Priority"].as_str().unwrap().parse::<u32>().unwrap_or(u32::MAX));
        rules.iter().filter_map(|rule| Some(rule["Conditions"][0]["Values"][0].as_str()?.to_owned())).collect()
    };
    assert_eq!(rules(), ["/api/users*", "/api/threads*"]);
    person.goes_to("/load-balancers/demo");
    person.clicks("#rules button[aria-label='Move rule 2 earlier']");
    assert!(person.browser.text(".copy code").starts_with("aws elbv2 set-rule-priorities --rule-priorities '[{"));
    person.clicks("button.main");
    wait_for("the order is changed", || (rules() == ["/api/threads*", "/api/users*"]).then_some(()));
    person.browser.script("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    person.types("form[action='/do/create-rule'] input[name=paths]", "/new*");
    person.clicks("form[action='/do/create-rule'] button");
    person.clicks("button.main");
    wait_for("a third rule", || (rules() == ["/api/threads*", "/api/users*", "/new*"]).then_some(()));
    person.clicks("#rules tr:nth-of-type(3) form[action='/do/delete-rule'] button");
    person.clicks("button.main");
    wait_for("the third rule is gone", || (rules().len() == 2).then_some(()));

    cuts(person);

    // A repository in, the service gone, its definition too.
    person.goes_to("/repositories");
    person.types("input[name=name]", "fresh");
    person.clicks("#create button");
    person.clicks("button.main");
    wait_for("the repository's page", || (person.sees("h1") == "fresh").then_some(()));
    person.goes_to("/clusters/demo/services/shop");
    person.clicks("#delete input[name=force]");
    person.clicks("#delete button");
    assert!(person.browser.text(".copy code").contains("--force"));
    person.clicks("button.main");
    wait_for("the service goes", || (service().status.as_deref() != Some("ACTIVE")).then_some(()));
    person.goes_to("/task-definitions/shop/1");
    person.clicks("#deregister button");
    person.clicks("button.main");
    wait_for("the definition is inactive", || {
        let input = json!({"taskDefinition": "shop:1"});
        let definition = site.call::<ecs::DescribeTaskDefinition>(input).task_definition.unwrap();
        (definition.status.as_deref() == Some("INACTIVE")).then_some(())
    });
    // What is refused says why, in AWS's words.
    person.goes_to("/target-groups/peer");
    person.clicks("#delete button");
    person.clicks("button.main");
    assert!(person.browser.text("[role=alert]").contains("ResourceInUse"));
}

/// A path without data moves as far as the shadow, and back.
fn cuts(person: &Person<'_>) {
    person.goes_to("/cuts");
    for (field, value) in [("scope", "env"), ("paths", "/env/*")] {
        person.types(&format!("#run input[name={field}]"), value);
    }
    for (choice, value) in [("from", "demo/shop"), ("to", "demo/users"), ("data", "none"), ("until", "SHADOW")] {
        person.clicks(&format!("#run select[name={choice}] option[value='{value}']"));
    }
    person.clicks("#run button");
    let line = "quarry cut run env --from demo/shop --to demo/users --path '/env/*' --no-data --until shadow";
    assert_eq!(person.browser.text(".copy code"), line);
    person.looks("cut-plan", &["States to come", "SHADOW"]);
    person.clicks("button.main");
    person.clicks("#all table a");
    wait_for("the cut waits", || person.sees("#cut").contains("Reached").then_some(()));
    wait_for("there is something to decide", || person.sees("#decide").contains("Go on").then_some(()));
    person.looks("cut", &["shop", "users", "Journal", "reads compared", "Go on", "Abort"]);
    person.clicks("form[action='/do/cut-abort'] button");
    assert!(person.browser.text(".copy code").starts_with("quarry cut abort cut-"));
    person.clicks("button.main");
    wait_for("the cut has ended", || person.sees("#cut").contains("ABORTED").then_some(()));
}
