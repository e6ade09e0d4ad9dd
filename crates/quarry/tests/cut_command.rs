//! The cut, as a person makes it with `quarry cut`: planned, stopped half-way, gone on with, rolled back, made again and
//! finished, under writes whose ledger must be exact; what is refused; and cuts while processes are killed.

mod cutting;
mod stage;

use cutting::{Dice, Moves};
use quarry_aws::ecs::op::{DescribeServices, DescribeTaskDefinition, RegisterTaskDefinition, UpdateService};
use quarry_aws::ecs::{
    DescribeServicesRequest, DescribeTaskDefinitionRequest, RegisterTaskDefinitionRequest, UpdateServiceRequest,
};
use quarry_aws::elbv2::op::{DescribeListeners, DescribeLoadBalancers, DescribeRules, ModifyRule};
use quarry_aws::elbv2::{DescribeListenersInput, DescribeRulesInput, ModifyRuleInput, Rule};
use quarry_client::Client;
use quarry_testkit::wait_for;
use serde_json::Value;
use stage::{Stage, block_on};
use std::process::Output;

const POSTS: [&str; 5] = ["posts", "--from", "api", "--path", "/api/posts*"];

/// `quarry cut …` on the stage's Quarry.
fn quarry_cut(stage: &Stage, words: &[&str]) -> Output {
    stage.platform.quarry(&[&["cut"], words].concat()).unwrap()
}

/// The same with `--json`, ending well: the last object that it prints.
fn said(stage: &Stage, words: &[&str]) -> Value {
    let output = quarry_cut(stage, &[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cut {words:?}: {:?} {text} {errors}", output.status.code());
    let whole = serde_json::from_str(&text);
    whole.or_else(|_| serde_json::from_str(text.lines().last().unwrap_or_default())).expect("it prints JSON")
}

/// What stands in the way: word and sentence.
fn refusals(stage: &Stage, words: &[&str]) -> Vec<String> {
    let output = quarry_cut(stage, &[&["plan"], words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["refused"], true);
    let findings = plan["findings"].as_array().unwrap().iter();
    findings.filter(|f| f["severity"] == "refusal").map(|f| format!("{}: {}", f["what"], f["message"])).collect()
}

fn rules(aws: &Client) -> Vec<Rule> {
    let balancers = block_on(aws.call::<DescribeLoadBalancers>(Default::default())).unwrap();
    let load_balancer_arn = balancers.load_balancers.unwrap().remove(0).load_balancer_arn;
    let input = DescribeListenersInput { load_balancer_arn, ..Default::default() };
    let listener_arn =
        block_on(aws.call::<DescribeListeners>(input)).unwrap().listeners.unwrap().remove(0).listener_arn;
    let input = DescribeRulesInput { listener_arn, ..Default::default() };
    block_on(aws.call::<DescribeRules>(input)).unwrap().rules.unwrap()
}

/// Sets a rule's action to what it is; the error's code.
fn modify(aws: &Client, rule: &Rule) -> Result<(), String> {
    let input =
        ModifyRuleInput { rule_arn: rule.rule_arn.clone(), actions: rule.actions.clone(), ..Default::default() };
    let answer = block_on(aws.call::<ModifyRule>(input));
    answer.map(|_| ()).map_err(|error| error.code().unwrap_or_default().to_owned())
}

/// By its path pattern.
fn rule_of(aws: &Client, pattern: &str) -> Rule {
    let has = |rule: &Rule| {
        let conditions = rule.conditions.iter().flatten();
        conditions.flat_map(|one| one.values.iter().flatten()).any(|value| value == pattern)
    };
    rules(aws).into_iter().find(has).expect("there is such a rule")
}

#[test]
fn a_feature_is_cut_out_by_the_command_and_back_and_again() {
    let stage = Stage::uncut();
    let aws = stage.platform.client().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ledgers = runtime.block_on(async { cutting::FEATURES.map(|f| (f, cutting::write(&stage, f, "cli", 10.0))) });

    let plan = said(&stage, &[&["plan"][..], &POSTS].concat());
    assert_eq!(plan["refused"], false, "{plan:#}");
    assert_eq!(plan["states"][0], "PREPARE");
    assert_eq!(said(&stage, &["ls"])["cuts"], Value::Array(Vec::new()), "a plan begins nothing");

    let until = ["--until", "shadow"];
    let stopped = said(&stage, &[&["run"][..], &POSTS, &until].concat());
    assert_eq!(stopped["cut"]["state"], "SHADOW", "{stopped:#}");
    assert_eq!(stopped["cut"]["stopped"]["code"], "Reached");
    assert_eq!(said(&stage, &["status", "posts"])["owner"], "source");

    // Meanwhile nobody else moves what the cut stands on.
    let overlapping = refusals(&stage, &POSTS);
    assert!(overlapping.iter().any(|found| found.starts_with("\"overlap")), "{overlapping:?}");
    let same = refusals(&stage, &["users", "--from", "api", "--to", "api", "--path", "/api/users*"]);
    assert!(same.iter().any(|found| found.contains("the same service")), "{same:?}");
    let owned = rule_of(&aws, "/api/posts*");
    assert_eq!(modify(&aws, &owned), Err("OperationNotPermitted".into()));
    assert_eq!(modify(&aws, &rule_of(&aws, "/api/users*")), Ok(()));

    let there = said(&stage, &["resume", "posts"]);
    assert_eq!((&there["cut"]["state"], &there["cut"]["owner"]), (&"WATCH".into(), &"destination".into()));
    let back = said(&stage, &["rollback", "posts"]);
    assert_eq!((&back["cut"]["stopped"]["code"], &back["cut"]["owner"]), (&"RolledBack".into(), &"source".into()));
    let again = said(&stage, &["resume", "posts"]);
    assert_eq!(again["cut"]["moves"].as_array().unwrap().len(), 3, "{again:#}");
    let output = quarry_cut(&stage, &["finish", "posts"]);
    assert!(!output.status.success(), "nobody was there to be asked: {output:?}");
    let finished = said(&stage, &["finish", "posts", "--yes"]);
    assert_eq!(finished["cut"]["state"], "FINISHED", "{finished:#}");
    assert_eq!(finished["digests_agree"], true);
    assert_eq!(modify(&aws, &rule_of(&aws, "/api/posts*")), Ok(()), "what is left is a plain rule");

    for (feature, ledger) in ledgers {
        let account = runtime.block_on(ledger.stop());
        let verdict = cutting::check(&stage, feature, "cli", &account);
        assert!(verdict.is_exact() && account.kinds.is_empty(), "{feature}: {verdict:?} {:?}", account.kinds);
        assert!(verdict.acknowledged > 10, "{verdict:?}");
    }

    rows_that_did_not_come_by_a_cut(&stage, &aws);
    assert!(stage.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(stage.platform.data_dir()), Vec::<String>::new());
}

/// A service that was filled otherwise is no destination.
fn rows_that_did_not_come_by_a_cut(stage: &Stage, aws: &Client) {
    let input = DescribeTaskDefinitionRequest { task_definition: Some("threads".into()), ..Default::default() };
    let definition = block_on(aws.call::<DescribeTaskDefinition>(input)).unwrap().task_definition.unwrap();
    let mut containers = definition.container_definitions.unwrap();
    for variable in containers[0].environment.iter_mut().flatten() {
        match variable.name.as_deref() {
            Some("IMPORT") => variable.value = Some("/db.json".into()),
            Some("CUT_DESTINATION") => variable.value = Some(String::new()),
            Some("DATABASE_PATH") => variable.value = Some("/data/filled.db".into()),
            _ => {}
        }
    }
    let input = RegisterTaskDefinitionRequest {
        family: Some("threads".into()),
        network_mode: Some("bridge".into()),
        container_definitions: Some(containers),
        volumes: definition.volumes,
        ..Default::default()
    };
    block_on(aws.call::<RegisterTaskDefinition>(input)).unwrap();
    let input = UpdateServiceRequest {
        cluster: Some(stage.cluster.clone()),
        service: Some("threads".into()),
        task_definition: Some("threads".into()),
        ..Default::default()
    };
    block_on(aws.call::<UpdateService>(input)).unwrap();
    wait_for("the new revision is deployed", || {
        let input = DescribeServicesRequest {
            cluster: Some(stage.cluster.clone()),
            services: Some(vec!["threads".into()]),
            ..Default::default()
        };
        let service = block_on(aws.call::<DescribeServices>(input)).ok()?.services?.pop()?;
        let deployments = service.deployments?;
        let done = deployments.len() == 1 && deployments[0].rollout_state.as_deref() == Some("COMPLETED");
        done.then_some(())
    });
    let found = refusals(stage, &["threads", "--from", "api", "--path", "/api/threads*"]);
    assert!(found.iter().any(|found| found.contains("rows")), "{found:?}");
}

#[test]
fn kills_at_any_moment_lose_and_double_no_write() {
    let mut stage = Stage::uncut();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ledgers =
        runtime.block_on(async { ["posts", "threads"].map(|f| (f, cutting::write(&stage, f, "kill", 20.0))) });
    let seed = std::env::var("CUT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let moves: Moves = cutting::to_and_fro(&mut stage, "posts", 10, 60, &mut Dice(seed));
    assert!(moves.kills.values().sum::<u64>() >= 3, "{moves:?}");
    for (feature, ledger) in ledgers {
        let account = runtime.block_on(ledger.stop());
        let verdict = cutting::check(&stage, feature, "kill", &account);
        println!("{feature}: {} acknowledged, {} unknown, {:?}", verdict.acknowledged, verdict.unknown, account.kinds);
        assert!(verdict.is_exact(), "seed {seed}, {feature}: {verdict:?} {moves:?}");
    }
    println!("{moves:?}");
    assert!(stage.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(stage.platform.data_dir()), Vec::<String>::new());
}
