//! Names, with real tasks: a service's tasks are found by their name, from their VPC alone, and only while
//! they are there; the aws CLI makes the namespace and sees the same.

#[path = "network/site.rs"]
mod site;

use quarry_testkit::{client_program, wait_for};
use quarry_wire::Operation;
use serde_json::{Value, json};
use site::{Site, address, get};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// The platform, one task of service `front` behind a load balancer that asks for us, and the namespace.
struct Town {
    site: Site,
    front: SocketAddr,
    namespace: String,
    definition: String,
}

fn id(task: &quarry_aws::ecs::Task) -> String {
    task.task_arn.as_deref().unwrap().rsplit('/').next().unwrap().to_owned()
}

impl Town {
    fn found(isolation: &str) -> Option<Self> {
        let site = Site::open(isolation)?;
        let mut town = Self {
            site,
            front: SocketAddr::from(([127, 0, 0, 1], 0)),
            namespace: String::new(),
            definition: String::new(),
        };
        town.namespace = town.make_namespace();
        let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
        town.definition = town.site.define("peer", containers, json!({}));
        let (group, front) = town.site.balance();
        town.front = front;
        let balancers = json!([{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}]);
        town.serve("front", 1, &[("loadBalancers", balancers)]);
        wait_for("the front answers", || get(front, "/"));
        Some(town)
    }

    /// With the aws CLI where it is installed.
    fn make_namespace(&self) -> String {
        if client_program("aws").is_some() {
            let made = self.aws(&["create-private-dns-namespace", "--name", "board.local", "--vpc", &self.site.vpc]);
            let operation = made["OperationId"].as_str().unwrap().to_owned();
            return wait_for("the namespace is made", || {
                let operation = self.aws(&["get-operation", "--operation-id", &operation])["Operation"].take();
                (operation["Status"] == "SUCCESS")
                    .then(|| operation["Targets"]["NAMESPACE"].as_str().unwrap().to_owned())
            });
        }
        use quarry_aws::servicediscovery::op::CreatePrivateDnsNamespace;
        self.finish(
            self.map::<CreatePrivateDnsNamespace>(json!({"Name": "board.local", "Vpc": self.site.vpc})).operation_id,
        )
    }

    /// `aws servicediscovery …`, its answer.
    fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new("aws");
        command.arg("servicediscovery").args(arguments).args(["--output", "json"]);
        command.envs(self.site.platform.env().unwrap()).env_remove("AWS_PROFILE");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn map<O: Operation>(&self, input: Value) -> O::Output
    where
        O::Input: serde::de::DeserializeOwned,
    {
        self.site.call::<O>(input)
    }

    /// Waits until an operation has succeeded; the namespace that it is about.
    fn finish(&self, operation: Option<String>) -> String {
        let id = operation.unwrap();
        wait_for("the operation succeeds", || {
            use quarry_aws::servicediscovery::op::GetOperation;
            let operation = self.map::<GetOperation>(json!({"OperationId": id})).operation.unwrap();
            assert_ne!(operation.status.as_deref(), Some("FAIL"), "{operation:?}");
            let namespace = operation.targets.unwrap_or_default().get("NAMESPACE").cloned().unwrap_or_default();
            (operation.status.as_deref() == Some("SUCCESS")).then_some(namespace)
        })
    }

    /// A Cloud Map service with these records; its id and ARN.
    fn registry(&self, name: &str, types: &[&str]) -> (String, String) {
        let records: Vec<_> = types.iter().map(|kind| json!({"Type": kind, "TTL": 10})).collect();
        let made = self.map::<quarry_aws::servicediscovery::op::CreateService>(json!({
            "Name": name, "NamespaceId": self.namespace, "DnsConfig": {"DnsRecords": records},
            "HealthCheckCustomConfig": {"FailureThreshold": 1},
        }));
        let made = made.service.unwrap();
        (made.id.unwrap(), made.arn.unwrap())
    }

    /// A Fargate service of the peer program.
    fn serve(&self, name: &str, count: u32, members: &[(&str, Value)]) {
        let mut input = json!({"cluster": "demo", "serviceName": name, "taskDefinition": self.definition,
            "desiredCount": count, "launchType": "FARGATE", "networkConfiguration": self.site.network()});
        for (member, value) in members {
            input[*member] = value.clone();
        }
        self.site.call::<quarry_aws::ecs::op::CreateService>(input);
    }

    fn scale(&self, name: &str, count: u32) {
        let input = json!({"cluster": "demo", "service": name, "desiredCount": count});
        self.site.call::<quarry_aws::ecs::op::UpdateService>(input);
    }

    /// What the front's task answers.
    fn ask(&self, path: &str) -> String {
        wait_for("the front answers", || get(self.front, path)).1
    }

    fn resolve(&self, name: &str) -> BTreeSet<String> {
        let said = self.ask(&format!("/resolve/{name}"));
        said.lines().filter(|line| !line.starts_with("unknown")).map(str::to_owned).collect()
    }

    fn addresses(&self, service: &str) -> BTreeSet<String> {
        self.site.tasks(service).iter().map(address).collect()
    }

    /// Waits until a name has as many addresses, and they are the service's tasks'.
    fn wait_named(&self, name: &str, service: &str, count: usize) -> BTreeSet<String> {
        wait_for("the name has the service's addresses", || {
            let found = self.resolve(name);
            (found.len() == count && found == self.addresses(service)).then_some(found)
        })
    }

    /// SIGKILL to a task's process.
    fn kill(&self, task: &str) {
        let pid = rustix::process::Pid::from_raw(self.site.pid(task)).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[test]
fn a_services_tasks_are_found_by_name_while_they_are_there() {
    let Some(mut town) = Town::found("user-namespaces") else { return };
    let (id_of_posts, arn) = town.registry("posts", &["A", "SRV"]);
    let registries = json!([{"registryArn": arn, "containerName": "peer", "containerPort": 3000}]);
    town.serve("posts", 3, &[("serviceRegistries", registries)]);

    // By its whole name and by its short one, and each address answers.
    let found = town.wait_named("posts.board.local", "posts", 3);
    assert_eq!(town.resolve("posts"), found);
    assert_eq!(town.ask("/srv/posts.board.local"), "3000");
    for address in &found {
        assert!(town.ask(&format!("/connect/{address}:3000")).contains("200 OK"), "{address}");
    }
    let one = id(&town.site.tasks("posts")[0]);
    let own = address(&town.site.tasks("posts")[0]);
    assert_eq!(town.resolve(&format!("{one}.posts.board.local")), BTreeSet::from([own.clone()]));
    for unknown in ["threads.board.local", "posts.local", "example.com"] {
        assert!(town.ask(&format!("/resolve/{unknown}")).starts_with("unknown"), "{unknown}");
    }
    if client_program("aws").is_some() {
        let found = town.aws(&["discover-instances", "--namespace-name", "board.local", "--service-name", "posts"]);
        let instances = found["Instances"].as_array().unwrap();
        assert_eq!(instances.len(), 3);
        assert!(
            instances.iter().all(|i| i["HealthStatus"] == "HEALTHY" && i["Attributes"]["ECS_SERVICE_NAME"] == "posts")
        );
    }

    // A killed one is gone from the name within about a second (the bound is for slow machines), and
    // another takes its place.
    let killed = Instant::now();
    town.kill(&one);
    wait_for("the killed task has left the name", || (!town.resolve("posts").contains(&own)).then_some(()));
    let after = killed.elapsed();
    println!("a killed task left DNS after {} ms", after.as_millis());
    assert!(after < Duration::from_secs(5), "{after:?}");
    town.wait_named("posts", "posts", 3);

    // Names answer on while serve is dead, and its next run goes on from there.
    let front = town.front;
    let said = town.site.without_serve(|_| wait_for("the front answers", || get(front, "/resolve/posts")).1);
    let before: BTreeSet<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(before.len(), 3, "{said}");
    assert_eq!(town.wait_named("posts", "posts", 3), before);

    // Scaled: more, fewer, none. Nothing is named that is on its way out.
    town.scale("posts", 4);
    town.wait_named("posts", "posts", 4);
    town.scale("posts", 1);
    town.wait_named("posts", "posts", 1);

    // Deleted, down to nothing.
    town.scale("posts", 0);
    town.site.call::<quarry_aws::ecs::op::DeleteService>(json!({"cluster": "demo", "service": "posts"}));
    wait_for("nobody is named any more", || town.resolve("posts").is_empty().then_some(()));
    use quarry_aws::servicediscovery::op::{DeleteNamespace, DeleteService, ListNamespaces};
    town.map::<DeleteService>(json!({"Id": id_of_posts}));
    town.finish(town.map::<DeleteNamespace>(json!({"Id": town.namespace})).operation_id);
    assert_eq!(town.map::<ListNamespaces>(json!({})).namespaces, Some(vec![]));
}

#[test]
fn names_are_seen_from_their_vpc_alone_and_follow_what_is_registered() {
    let Some(town) = Town::found("rootless") else { return };
    use quarry_aws::servicediscovery::op::{
        CreatePrivateDnsNamespace, DeregisterInstance, RegisterInstance, UpdateInstanceCustomHealthStatus,
    };
    let (db, _) = town.registry("db", &["A"]);
    let mine = town.site.run(&town.definition);
    let theirs = town.site.run(&town.definition);
    let [one, two] = [address(&mine), address(&theirs)];
    for (instance, address) in [("one", &one), ("two", &two)] {
        let input = json!({"ServiceId": db, "InstanceId": instance, "Attributes": {"AWS_INSTANCE_IPV4": address}});
        town.finish(town.map::<RegisterInstance>(input).operation_id);
    }
    let named = |wanted: &[&String]| {
        let wanted: BTreeSet<String> = wanted.iter().map(|&address| address.clone()).collect();
        wait_for("the name has these addresses", || (town.resolve("db") == wanted).then_some(()));
    };
    let say = |instance: &str, status: &str| {
        let input = json!({"ServiceId": db, "InstanceId": instance, "Status": status});
        town.map::<UpdateInstanceCustomHealthStatus>(input);
    };
    named(&[&one, &two]);
    say("one", "UNHEALTHY");
    named(&[&two]);
    say("two", "UNHEALTHY");
    named(&[&one, &two]);
    say("one", "HEALTHY");
    named(&[&one]);
    town.finish(town.map::<DeregisterInstance>(json!({"ServiceId": db, "InstanceId": "one"})).operation_id);
    named(&[&two]);

    // The same name in another VPC is another name, which no task here sees.
    use quarry_aws::ec2::op::CreateVpc;
    let other = town.site.call::<CreateVpc>(json!({"CidrBlock": "10.1.0.0/16"})).vpc.unwrap().vpc_id.unwrap();
    let input = json!({"Name": "far.local", "Vpc": other});
    let far = town.finish(town.map::<CreatePrivateDnsNamespace>(input).operation_id);
    let input = json!({"Name": "db", "NamespaceId": far, "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 1}]}});
    let service = town.map::<quarry_aws::servicediscovery::op::CreateService>(input).service.unwrap().id;
    let input = json!({"ServiceId": service, "InstanceId": "x", "Attributes": {"AWS_INSTANCE_IPV4": one}});
    town.finish(town.map::<RegisterInstance>(input).operation_id);
    assert!(town.ask("/resolve/db.far.local").starts_with("unknown"));
    named(&[&two]);
}

/// Containers say how they are: who is sick leaves the name at once, is replaced, and its successor is named
/// only when it is well.
#[test]
fn a_task_that_fails_its_health_check_leaves_the_name_and_is_replaced() {
    let Some(town) = Town::found("user-namespaces") else { return };
    let (_, arn) = town.registry("posts", &["A", "SRV"]);
    let check = json!({"command": ["CMD", "/peer", "check"], "interval": 5, "timeout": 2, "retries": 1});
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}], "healthCheck": check}]);
    let checked = town.site.define("checked", containers, json!({}));
    let registries = json!([{"registryArn": arn, "containerName": "peer", "containerPort": 3000}]);
    town.serve("posts", 2, &[("taskDefinition", checked.into()), ("serviceRegistries", registries)]);
    let health = |task: &quarry_aws::ecs::Task| task.health_status.clone().unwrap_or_default();
    wait_for("the tasks run", || {
        let tasks = town.site.tasks("posts");
        // Whoever is named was found to be well before.
        for task in tasks.iter().filter(|task| health(task) == "UNKNOWN") {
            let own = address(task);
            let named = town.resolve("posts").contains(&own);
            assert!(!named || health(&town.site.task(task.task_arn.as_deref().unwrap())) != "UNKNOWN", "{own}");
        }
        (tasks.len() == 2 && tasks.iter().all(|task| health(task) == "HEALTHY")).then_some(())
    });
    let before = town.wait_named("posts", "posts", 2);

    let sick = town.site.tasks("posts").remove(0);
    let own = address(&sick);
    assert!(town.ask(&format!("/get/{own}:3000/sick")).contains("Ok"));
    let arn = sick.task_arn.clone().unwrap();
    wait_for("it is found to be sick", || (health(&town.site.task(&arn)) == "UNHEALTHY").then_some(()));
    let found = Instant::now();
    wait_for("the sick task has left the name", || (!town.resolve("posts").contains(&own)).then_some(()));
    println!("a sick task left DNS {} ms after its state was shown", found.elapsed().as_millis());
    assert!(found.elapsed() < Duration::from_secs(5), "{:?}", found.elapsed());
    let stopped = wait_for("it is replaced", || {
        assert!(!town.resolve("posts").is_empty(), "somebody is named all the time");
        let task = town.site.task(&arn);
        (task.last_status.as_deref() == Some("STOPPED")).then_some(task)
    });
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Task failed container health checks"));
    let after = town.wait_named("posts", "posts", 2);
    assert_eq!(after.intersection(&before).count(), 1);
    assert!(!after.contains(&own));
}
