//! Blue/green deployments over real rules and target groups, with hooks that a server on loopback answers.

use super::{Stage, id};
use crate::ecs::reconcile::Reconciler;
use crate::ecs::reconcile::jobs::Jobs;
use crate::elbv2::tests as elb;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::elbv2;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers each call with the next of its answers, the last one again and again.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn new(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (told, answers) = (asked.clone(), answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>());
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                let body = loop {
                    let n = stream.read(&mut buffer).unwrap();
                    bytes.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    if let Some((_, body)) = text.split_once("\r\n\r\n")
                        && let Ok(body) = serde_json::from_str::<Value>(body)
                    {
                        break body;
                    }
                    assert_ne!(n, 0, "a whole request");
                };
                told.lock().unwrap().push(body);
                let answer = answers.get(n).or(answers.last()).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
                let _ = stream.write_all(format!("{head}{answer}").as_bytes());
            }
        });
        Self { url, asked }
    }

    fn stages(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|one| one["lifecycleStage"].as_str().unwrap().to_owned()).collect()
    }
}

struct Shifting {
    stage: Stage,
    groups: [String; 2],
    /// The rules for production and test.
    rules: [String; 2],
    v2: String,
}

const OK: &str = r#"{"hookStatus": "SUCCEEDED"}"#;

impl Shifting {
    /// Service `api` with one healthy task of its first version, by the strategy BLUE_GREEN.
    fn new(configuration: Value) -> Self {
        let mut shifting = Self::made();
        let input = shifting.create(configuration);
        shifting.stage.world.call::<op::CreateService>(serde_json::from_value(input).unwrap()).unwrap();
        shifting.stage.settle();
        shifting.stage.pass_time(Duration::from_secs(300));
        assert_eq!(shifting.stage.statuses(), ["SUCCESSFUL"]);
        shifting
    }

    fn made() -> Self {
        let stage = Stage::new();
        let v2 = stage.define("api:v2");
        let balancer = elb::balancer(&stage.world, "demo");
        let groups = ["one", "two"].map(|name| elb::group(&stage.world, name));
        let listener = elb::listener(&stage.world, &balancer, &groups[0]);
        let rules = [("/api/*", 10), ("/test/*", 20)].map(|(path, priority)| {
            let input = elb::rule_input(&listener, priority, path, &groups[0]);
            let made = stage.world.call::<elbv2::op::CreateRule>(input).unwrap();
            made.rules.unwrap().remove(0).rule_arn.unwrap()
        });
        Self { stage, groups, rules, v2 }
    }

    fn create(&self, configuration: Value) -> Value {
        let v1 = self.stage.define("api:v1");
        let mut whole = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0});
        whole.as_object_mut().unwrap().extend(configuration.as_object().unwrap().clone());
        json!({
            "cluster": "demo", "serviceName": "api", "taskDefinition": v1, "desiredCount": 2,
            "deploymentConfiguration": whole,
            "loadBalancers": [{
                "targetGroupArn": self.groups[0], "containerName": "api", "containerPort": 3000,
                "advancedConfiguration": {
                    "alternateTargetGroupArn": self.groups[1], "productionListenerRule": self.rules[0],
                    "testListenerRule": self.rules[1], "roleArn": "arn:aws:iam::000000000000:role/ecsInfrastructure",
                },
            }],
        })
    }

    fn deploy(&self) {
        self.stage.update(|input| {
            input.task_definition = Some(self.v2.clone());
            input.force_new_deployment = Some(true);
        });
    }

    /// The target groups that get requests of the production rule (0) or the test rule (1).
    fn weights(&self, rule: usize) -> BTreeMap<usize, i32> {
        let input = elbv2::DescribeRulesInput { rule_arns: Some(vec![self.rules[rule].clone()]), ..Default::default() };
        let found = self.stage.world.call::<elbv2::op::DescribeRules>(input).unwrap().rules.unwrap().remove(0);
        let tuples = found.actions.unwrap().remove(0).forward_config.unwrap().target_groups.unwrap();
        let index = |arn: Option<String>| self.groups.iter().position(|group| Some(group) == arn.as_ref()).unwrap();
        let weights = tuples.into_iter().map(|tuple| (index(tuple.target_group_arn), tuple.weight.unwrap_or(0)));
        weights.filter(|(_, weight)| *weight > 0).collect()
    }

    fn set_weights(&self, weights: [i32; 2]) {
        let tuples = self
            .groups
            .iter()
            .zip(weights)
            .map(|(arn, weight)| elbv2::TargetGroupTuple { target_group_arn: Some(arn.clone()), weight: Some(weight) });
        let action = elbv2::Action {
            r#type: Some("forward".into()),
            forward_config: Some(elbv2::ForwardActionConfig {
                target_groups: Some(tuples.collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let input = elbv2::ModifyRuleInput {
            rule_arn: Some(self.rules[0].clone()),
            actions: Some(vec![action]),
            ..Default::default()
        };
        self.stage.world.call::<elbv2::op::ModifyRule>(input).unwrap();
    }

    /// Registered and not draining, by target group.
    fn targets(&self) -> [usize; 2] {
        let all = self.stage.targets();
        let count = |group: &String| all.iter().filter(|t| !t.draining && t.target_group_arn == *group).count();
        [count(&self.groups[0]), count(&self.groups[1])]
    }

    fn lifecycle(&self) -> (String, Option<String>) {
        let newest = self.stage.deployments().remove(0);
        (newest.status.unwrap(), newest.lifecycle_stage)
    }

    /// One step: whoever carries the plan out is another one each time.
    fn step(&mut self) {
        let stage = &mut self.stage;
        let jobs = Jobs::inline(stage.world.platform.clone(), stage.world.operations.clone());
        stage.reconciler = Reconciler::new(stage.world.platform.clone(), stage.world.operations.clone(), jobs);
        stage.reconciler.pass();
        stage.runtime();
        stage.reconciler.pass();
        stage.proxy();
        let serving = self.weights(0);
        assert_eq!(serving.len(), 1, "one group has all requests");
        let (group, weight) = serving.into_iter().next().unwrap();
        assert_eq!(weight, 100);
        assert_eq!(self.targets()[group], 2, "and all its tasks");
    }
}

#[test]
fn green_takes_over_and_the_next_deployment_goes_the_other_way() {
    let mut shifting = Shifting::new(json!({}));
    assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(0, 100)]), [2, 0]));
    let server =
        Server::new(&[r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 60, "hookDetails": {"seen": 1}}"#, OK]);
    let stages = ["PRE_SCALE_UP", "POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    let configuration = json!({"lifecycleHooks": [{
        "hookTargetArn": server.url, "lifecycleStages": stages, "roleArn": "arn:aws:iam::000000000000:role/hooks",
        "hookDetails": {"bucket": "b"},
    }]});
    shifting.stage.update(|input| {
        input.task_definition = Some(shifting.v2.clone());
        input.deployment_configuration = Some(serde_json::from_value(configuration).unwrap());
    });
    for _ in 0..4 {
        shifting.step();
    }
    assert_eq!(shifting.lifecycle(), ("IN_PROGRESS".into(), Some("PRE_SCALE_UP".into())));
    assert_eq!(server.stages(), ["PRE_SCALE_UP"], "it is not asked before its time");
    shifting.stage.world.door.advance(Duration::from_secs(60));
    for _ in 0..12 {
        shifting.step();
    }
    shifting.stage.settle();
    let all = ["PRE_SCALE_UP"].into_iter().chain(stages).collect::<Vec<_>>();
    assert_eq!(server.stages(), all);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!((&asked[0]["hookDetails"], &asked[1]["hookDetails"]), (&json!({"bucket": "b"}), &json!({"seen": 1})));
    let newest = shifting.stage.deployments().remove(0);
    let target = newest.target_service_revision.unwrap();
    assert_eq!(target.requested_production_traffic_weight, Some(100.0));
    let details = &asked.last().unwrap()["executionDetails"];
    assert_eq!(details["productionTrafficWeights"][target.arn.as_ref().unwrap()], 100);
    assert_eq!(details["targetServiceRevisionArn"], json!(target.arn));
    assert_eq!(shifting.lifecycle(), ("SUCCESSFUL".into(), Some("CLEAN_UP".into())));
    let both = (shifting.weights(0), shifting.weights(1), shifting.targets());
    assert_eq!(both, (BTreeMap::from([(1, 100)]), BTreeMap::from([(1, 100)]), [0, 2]));
    assert_eq!(shifting.stage.events().last().unwrap(), "(service api) has reached a steady state.");
    assert!(shifting.stage.tasks("RUNNING").iter().all(|task| task.task_definition_arn.as_ref() == Some(&shifting.v2)));

    shifting.deploy();
    shifting.stage.settle();
    assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(0, 100)]), [2, 0]));
    // A rolling update stays where the requests go.
    shifting.deploy();
    shifting.stage.settle();
    shifting.stage.update(|input| {
        let rolling = aws::DeploymentConfiguration { strategy: Some("ROLLING".into()), ..Default::default() };
        input.deployment_configuration = Some(rolling);
        input.force_new_deployment = Some(true);
    });
    shifting.stage.settle();
    assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(1, 100)]), [0, 2]));
}

#[test]
fn a_hook_that_fails_ends_as_before() {
    for (answer, why) in [(r#"{"hookStatus": "FAILED"}"#, "answered FAILED"), ("{}", "no valid hookStatus")] {
        let server = Server::new(&[answer]);
        let mut shifting = Shifting::new(json!({}));
        let before: Vec<String> = shifting.stage.tasks("RUNNING").iter().map(id).collect();
        let hooks = json!({"lifecycleHooks": [{
            "hookTargetArn": server.url, "lifecycleStages": ["POST_PRODUCTION_TRAFFIC_SHIFT"],
        }]});
        shifting.stage.update(|input| {
            input.task_definition = Some(shifting.v2.clone());
            input.deployment_configuration = Some(serde_json::from_value(hooks).unwrap());
        });
        for _ in 0..14 {
            shifting.step();
        }
        shifting.stage.settle();
        let newest = shifting.stage.deployments().remove(0);
        assert_eq!(newest.status.as_deref(), Some("ROLLBACK_SUCCESSFUL"));
        assert!(newest.status_reason.as_ref().unwrap().contains(why), "{:?}", newest.status_reason);
        assert_eq!(
            (shifting.weights(0), shifting.weights(1)),
            (BTreeMap::from([(0, 100)]), BTreeMap::from([(0, 100)]))
        );
        assert_eq!(shifting.targets(), [2, 0]);
        let after: Vec<String> = shifting.stage.tasks("RUNNING").iter().map(id).collect();
        assert_eq!(after, before, "blue's tasks never stopped");
        assert_eq!(shifting.stage.service().deployments.unwrap().len(), 1);
    }
}

#[test]
fn an_alarm_in_the_bake_time_and_a_stop_move_the_requests_back() {
    let mut shifting = Shifting::new(json!({"bakeTimeInMinutes": 5}));
    shifting.stage.alarm("errors");
    for alarm in [true, false] {
        shifting.stage.update(|input| {
            let configuration = json!({"alarms": {"alarmNames": ["errors"], "enable": true, "rollback": true}});
            input.deployment_configuration = Some(serde_json::from_value(configuration).unwrap());
            input.force_new_deployment = Some(true);
        });
        shifting.stage.settle();
        assert_eq!(shifting.lifecycle(), ("IN_PROGRESS".into(), Some("BAKE_TIME".into())));
        assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(1, 100)]), [2, 2]));
        match alarm {
            true => shifting.stage.set_alarm("errors", "ALARM"),
            false => drop(shifting.stage.stop(None).unwrap()),
        }
        for _ in 0..8 {
            shifting.step();
        }
        shifting.stage.settle();
        assert_eq!(shifting.lifecycle().0, "ROLLBACK_SUCCESSFUL");
        assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(0, 100)]), [2, 0]));
        shifting.stage.set_alarm("errors", "OK");
    }
    // Undisturbed it bakes for five minutes.
    shifting.deploy();
    shifting.stage.settle();
    shifting.stage.pass_time(Duration::from_secs(299));
    assert_eq!(shifting.lifecycle(), ("IN_PROGRESS".into(), Some("BAKE_TIME".into())));
    shifting.stage.pass_time(Duration::from_secs(1));
    assert_eq!(shifting.lifecycle(), ("SUCCESSFUL".into(), Some("CLEAN_UP".into())));
}

#[test]
fn the_circuit_breaker_goes_back_before_any_request_is_moved() {
    let mut shifting = Shifting::new(json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}}));
    shifting.stage.exits.insert("bad:version".into(), 1);
    shifting.stage.world.images.add("bad:version");
    let bad = shifting.stage.define("bad:version");
    shifting.stage.update(|input| input.task_definition = Some(bad.clone()));
    for _ in 0..20 {
        shifting.stage.pass_time(Duration::from_secs(1));
    }
    let newest = shifting.stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("ROLLBACK_SUCCESSFUL"));
    let breaker = newest.deployment_circuit_breaker.unwrap();
    assert_eq!((breaker.status.as_deref(), breaker.threshold), (Some("TRIGGERED"), Some(3)));
    assert!(breaker.failure_count.unwrap() >= 3);
    assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(0, 100)]), [2, 0]));
}

#[test]
fn weights_that_another_hand_changed_are_seen_and_left_alone() {
    let mut shifting = Shifting::new(json!({"bakeTimeInMinutes": 5}));
    shifting.deploy();
    shifting.stage.settle();
    shifting.set_weights([50, 50]);
    shifting.stage.settle();
    let newest = shifting.stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("ROLLBACK_FAILED"));
    assert!(newest.status_reason.unwrap().contains("another hand changed the weights"));
    assert_eq!(shifting.weights(0), BTreeMap::from([(0, 50), (1, 50)]), "not overwritten");
    assert_eq!(shifting.targets(), [2, 2], "both have requests to answer");
    // Where the requests are to go has to be said before the next deployment.
    let input = aws::UpdateServiceRequest {
        cluster: Some("demo".into()),
        service: Some("api".into()),
        force_new_deployment: Some(true),
        ..Default::default()
    };
    let refused = shifting.stage.world.call::<op::UpdateService>(input).unwrap_err();
    assert!(refused.message.contains("must send all requests to one of the target groups"), "{}", refused.message);
    shifting.set_weights([1, 0]);
    shifting.deploy();
    assert_eq!(shifting.lifecycle().1.as_deref(), Some("RECONCILE_SERVICE"));
    shifting.stage.settle();
    assert_eq!(shifting.lifecycle(), ("IN_PROGRESS".into(), Some("BAKE_TIME".into())));
    let input = |configuration: Value| {
        let input = json!({"cluster": "demo", "service": "api", "deploymentConfiguration": configuration});
        serde_json::from_value::<aws::UpdateServiceRequest>(input).unwrap()
    };
    let refused = shifting.stage.world.call::<op::UpdateService>(input(json!({"strategy": "ROLLING"}))).unwrap_err();
    assert!(refused.message.contains("cannot be changed while"), "{}", refused.message);
    // All to blue, by another hand: green may end.
    shifting.set_weights([7, 0]);
    shifting.stage.settle();
    assert_eq!(shifting.lifecycle().0, "ROLLBACK_SUCCESSFUL");
    assert_eq!((shifting.weights(0), shifting.targets()), (BTreeMap::from([(0, 7)]), [2, 0]));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let shifting = Shifting::made();
    let hook = |url: &str, stage: &str| json!({"lifecycleHooks": [{"hookTargetArn": url, "lifecycleStages": [stage]}]});
    let (here, lambda) = ("http://127.0.0.1:1/x", "arn:aws:lambda:us-east-1:000000000000:function:check");
    let refused = |input: Value| -> (String, String) {
        let refused =
            shifting.stage.world.call::<op::CreateService>(serde_json::from_value(input).unwrap()).unwrap_err();
        (refused.code.to_string(), refused.message.clone())
    };
    for (configuration, code, words) in [
        (json!({"strategy": "LINEAR"}), "UnsupportedFeatureException", "LINEAR"),
        (json!({"strategy": "CANARY"}), "UnsupportedFeatureException", "CANARY"),
        (json!({"bakeTimeInMinutes": 1441}), "InvalidParameterException", "1440"),
        (hook(lambda, "PRE_SCALE_UP"), "InvalidParameterException", "no Lambda functions here"),
        (hook("http://192.0.2.1/", "PRE_SCALE_UP"), "InvalidParameterException", "URL of this machine"),
        (hook("https://127.0.0.1/", "PRE_SCALE_UP"), "InvalidParameterException", "URL of this machine"),
        (hook(here, "BAKE_TIME"), "InvalidParameterException", "BAKE_TIME"),
        (json!({"strategy": "ROLLING", "bakeTimeInMinutes": 1}), "InvalidParameterException", "bakeTimeInMinutes"),
    ] {
        let (found, message) = refused(shifting.create(configuration));
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let mut plain = shifting.create(json!({}));
    plain["loadBalancers"][0].as_object_mut().unwrap().remove("advancedConfiguration");
    assert!(refused(plain).1.contains("advancedConfiguration"));
    let mut unknown = shifting.create(json!({}));
    unknown["loadBalancers"][0]["advancedConfiguration"]["productionListenerRule"] = json!("arn:aws:none");
    assert!(refused(unknown).1.contains("does not exist"));
    shifting.set_weights([1, 1]);
    assert!(refused(shifting.create(json!({}))).1.contains("must send all requests to one"));
    assert!(shifting.stage.targets().is_empty());
}

#[test]
fn a_cut_and_a_blue_green_deployment_keep_off_each_other() {
    let mut shifting = Shifting::new(json!({"bakeTimeInMinutes": 5}));
    let service = shifting.stage.service().service_arn.unwrap();
    let shifted = |shifting: &Shifting, rule: Option<&str>, service: &str| {
        let platform = &shifting.stage.world.platform;
        platform.store.read(|tx| crate::cut::rule::shifted(tx, rule, [service, "other"])).unwrap()
    };
    assert_eq!(shifted(&shifting, Some(&shifting.rules[0]), &service), None);
    shifting.deploy();
    shifting.stage.settle();
    for (rule, of) in [(Some(shifting.rules[0].as_str()), "another"), (None, service.as_str())] {
        let why = shifted(&shifting, rule, of).unwrap();
        assert!(why.starts_with(&format!("a blue/green deployment of {service} has not ended")), "{why}");
    }
    shifting.stage.pass_time(Duration::from_secs(300));
    assert_eq!(shifted(&shifting, Some(&shifting.rules[0]), &service), None);
    // The other way round: a cut stands on the rule, or on the service.
    let update = || aws::UpdateServiceRequest {
        cluster: Some("demo".into()),
        service: Some("api".into()),
        force_new_deployment: Some(true),
        ..Default::default()
    };
    for (rule, from) in [(shifting.rules[0].as_str(), "another"), ("rule", service.as_str())] {
        let world = &shifting.stage.world;
        world
            .transact(|ctx| {
                let cut = crate::cut::tests::record(rule, from, ctx.platform.now_ms());
                Ok(ctx.tx.put(&cut)?)
            })
            .unwrap();
        let refused = world.call::<op::UpdateService>(update()).unwrap_err();
        assert!(refused.message.contains("cut-00000001"), "{}", refused.message);
        world.transact(|ctx| Ok(ctx.tx.delete::<crate::cut::records::Cut>("cut-00000001")?)).unwrap();
    }
    assert_eq!(shifting.stage.statuses().len(), 2, "what was refused began nothing");
    world_goes_on(&mut shifting);
}

fn world_goes_on(shifting: &mut Shifting) {
    shifting.deploy();
    shifting.stage.settle();
    assert_eq!(shifting.lifecycle(), ("IN_PROGRESS".into(), Some("BAKE_TIME".into())));
}
