//! The console: who may see it, and every page and action of it as a person uses them, in headless Chromium.
//!
//! `CONSOLE_SCREENSHOTS=<directory>` keeps pictures. axe-core (npm) looks at each page where it is installed:
//! `AXE_CORE=<path of axe.min.js>`, in `target/axe` (`npm install --prefix target/axe axe-core`), or in npm's global folder.

#[path = "console/acts.rs"]
mod acts;
#[path = "console/axe.rs"]
mod axe;
#[path = "console/keyboard.rs"]
mod keyboard;
#[path = "console/person.rs"]
mod person;
#[path = "network/site.rs"]
mod site;

use person::{Person, Visitor, ask, link};
use quarry_aws::ecs::op as ecs;
use quarry_aws::elbv2::op as elbv2;
use quarry_testkit::browser::Browser;
use quarry_testkit::{Platform, wait_for};
use serde_json::json;
use site::{Site, get};

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
    for missing in [
        "/no/such/page",
        "/clusters/none",
        "/clusters/none/tasks",
        "/clusters/none/create-service",
        "/clusters/none/services/none",
        "/task-definitions/none/1",
        "/load-balancers/none",
        "/load-balancers/none/requests",
        "/target-groups/none",
        "/repositories/none",
        "/stacks/none",
        "/namespaces/ns-none",
        "/roles/none",
        "/alarms/none",
        "/traces/1-00000000-000000000000000000000000",
        "/cuts/none",
    ] {
        let shown = get(missing, &cookie);
        assert!(shown.starts_with("HTTP/1.1 404") && shown.contains("<title>Not found"), "{missing}: {shown}");
    }

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

/// Tasks that have stopped, but one, are copies of it in the store.
const TASKS: usize = 1000;

#[test]
fn a_thousand_tasks_are_shown_page_by_page_or_on_one() {
    let mut site = Site::on(Platform::start(EXE).unwrap());
    let definition = site.define("missing", json!([{"name": "missing", "image": "127.0.0.1:1/missing:v1"}]), json!({}));
    let ran = site.call::<ecs::RunTask>(json!({
        "cluster": "demo", "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": site.network(),
    }));
    let task = ran.tasks.unwrap().remove(0).task_arn.unwrap().rsplit('/').next().unwrap().to_owned();
    let stopped = |site: &Site| {
        let stopped = site.call::<ecs::ListTasks>(json!({"cluster": "demo", "desiredStatus": "STOPPED"}));
        stopped.task_arns.unwrap().len()
    };
    wait_for("it has stopped", || (stopped(&site) == 1).then_some(()));
    let open = |site: &Site| rusqlite::Connection::open(site.platform.data_dir().join("control.db")).unwrap();
    wait_for("it is kept as one that has stopped", || {
        let count = "SELECT count(*) FROM item WHERE kind = 'ecs.stopped-task'";
        (open(&site).query_row(count, [], |row| row.get::<_, i64>(0)) == Ok(1)).then_some(())
    });
    site.without_serve(|site| {
        let store = open(site);
        let copied = "WITH RECURSIVE copy(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copy WHERE n < ?2)
            INSERT INTO item (kind, key, parent, body, owner, version)
            SELECT kind, printf('%032x', n), parent, replace(body, ?1, printf('%032x', n)), owner, version
            FROM item, copy WHERE kind = 'ecs.stopped-task' AND key = ?1";
        assert_eq!(store.execute(copied, (&task, TASKS - 1)).unwrap(), TASKS - 1);
    });
    let visitor = Visitor::signs_in(&site.platform);
    let rows = |page: &str| page.matches("/clusters/demo/tasks/").count();
    let first = visitor.get("/clusters/demo/tasks?status=STOPPED");
    assert_eq!(rows(&first), 50, "{first}");
    assert!(first.contains("CannotPullContainerError"));
    let next = |page: &str| -> Option<String> {
        Some(page.split_once("rel=\"next\" href=\"")?.1.split('"').next()?.replace("&amp;", "&"))
    };
    let second = visitor.get(&next(&first).expect("more follow"));
    assert!(rows(&second) == 50 && second.contains("First page"));
    let all = visitor.get("/clusters/demo/tasks?status=STOPPED&show=1000");
    assert_eq!((rows(&all), next(&all)), (TASKS, None));

    // In a browser: painted soon, and one of them is found by some letters of its id.
    let Some(browser) = Browser::start() else { return };
    let person = Person::sits_down(&browser, &site.platform);
    person.goes_to("/clusters/demo/tasks?status=STOPPED&show=1000");
    let within = person.paints_within(5000);
    person.types("[data-filter] input", "3e7");
    let shown = "return [...document.querySelectorAll('#tasks tbody tr')].filter((row) => !row.hidden).length";
    wait_for("one is found", || (browser.script(shown) == json!(1)).then_some(()));
    person.looks("many-tasks", &["STOPPED"]);
    person.leaves();
    browser.quit();
    assert!(within, "the first paint takes longer");
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
            &["path /api/users*", "forward to users", "default", "Response time", "/min", "Recent requests"],
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
        ("/metrics?namespace=AWS%2FApplicationELB", "metrics", &["RequestCount", "LoadBalancer=app/demo/"]),
        ("/alarms", "alarms", &["busy", "CPUUtilization > 80"]),
        ("/alarms/busy", "alarm", &["ClusterName demo"]),
        ("/cuts", "cuts", &["Begin a cut"]),
    ] {
        person.goes_to(path);
        person.looks(name, expected);
    }
    person.goes_to("/traces?filter=responsetime+%3E%3D+1");
    person.looks("traces", &["shop", "http://shop/slow", "Service map"]);
    let map = person.sees("#map svg");
    assert!(
        map.contains("Clients") && map.contains("books") && map.contains("1 in 15 min") && map.contains("1000 ms"),
        "{map}"
    );
    let trace = format!("#traces a[href$='{TRACE}']");
    let path = person.browser.script(&format!("return document.querySelector({}).getAttribute('href')", json!(trace)));
    person.clicks(&trace);
    wait_for("the trace", || person.sees("#spans").contains("books").then_some(()));
    person.looks("trace", &["shop", "GET http://shop/slow → 200"]);
    follows_the_logs(&site, &person, path.as_str().unwrap());
    keyboard::alone(&site, &person);
    acts::all(&site, &person, front);
    person.leaves();
    browser.quit();
}

/// Lines come as they are written, those that a pattern leaves out do not, and the page is not loaded again; a line that
/// names a trace leads to it. `trace`: the path of a trace's page.
fn follows_the_logs(site: &Site, person: &Person<'_>, trace: &str) {
    use quarry_aws::logs::op::{CreateLogStream, DescribeLogGroups, PutLogEvents};
    // A connection that was kept all the while may have been closed.
    wait_for("an answer", || site.answered::<DescribeLogGroups>(json!({})));
    let of = json!({"logGroupName": "stacked", "logStreamName": "a/b/0123456789"});
    site.call::<CreateLogStream>(of.clone());
    let write = |lines: &[&str]| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let events: Vec<_> = lines.iter().map(|line| json!({"timestamp": now, "message": line})).collect();
        let mut input = of.clone();
        input["logEvents"] = json!(events);
        site.call::<PutLogEvents>(input);
    };
    let of_trace = format!("ERROR {{\"trace\":\"Root={};Sampled=1\"}}", trace.rsplit('/').next().unwrap());
    write(&["ERROR one", &of_trace, "all is well"]);
    person.goes_to("/logs/stacked?filter=ERROR");
    wait_for("the first line", || person.sees("#tail").contains("ERROR one").then_some(()));
    person.browser.script("window.same = true");
    write(&["ERROR two", "nothing new", &of_trace, "ERROR <b>three</b>"]);
    wait_for("the lines that follow", || person.sees("#tail").contains("ERROR <b>three</b>").then_some(()));
    let shown = person.sees("#tail");
    assert!(shown.contains("ERROR two") && !shown.contains("well") && !shown.contains("nothing"), "{shown}");
    assert_eq!(shown.matches("ERROR one").count(), 1, "{shown}");
    assert_eq!(person.browser.script("return window.same === true"), json!(true));
    person.looks("log-tail", &["New lines appear", "01234567"]);
    // Of the line that was there, and of the one that came.
    let link = format!("#tail a[href='{trace}']");
    assert_eq!(person.browser.texts(&link), ["Trace", "Trace"]);
    person.clicks(&format!("#tail div.fresh a[href='{trace}']"));
    wait_for("the trace of the line", || person.sees("#spans").contains("books").then_some(()));
}
