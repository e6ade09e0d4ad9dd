//! Updates that fail, are cancelled or are kept from what they want: what was before is there again.

use super::reconcile::Reconciler;
use super::resource::thing::{Existing, Hold};
use super::tests::{create, delete, describe, events, pass, status, world};
use super::tests_update::{story, things, update, update_with, values};
use crate::testing::World;
use proptest::prelude::*;
use quarry_aws::cloudformation::{
    CancelUpdateStackInput, ContinueUpdateRollbackInput, CreateStackInput, GetStackPolicyInput, RollbackStackInput,
    SetStackPolicyInput, UpdateTerminationProtectionInput, op,
};

fn sorted(world: &World) -> Vec<Existing> {
    let mut all = things(world);
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn hold(world: &World, held: bool) {
    world.platform.store.write(|tx| if held { tx.put(&Hold) } else { tx.delete::<Hold>("hold").map(|_| ()) }).unwrap();
}

const FIRST: &str = "
Resources:
  Base: {Type: Test::Thing, Properties: {Value: one, Fixed: a}}
  User: {Type: Test::Thing, Properties: {Value: x, Uses: !Ref Base}}
  Old: {Type: Test::Thing, Properties: {Value: stays}}
Outputs: {Base: {Value: !Ref Base}}";
/// Replaces Base, changes User, adds New, removes Old, and fails at Last.
const SECOND: &str = "
Resources:
  Base: {Type: Test::Thing, Properties: {Value: two, Fixed: b}}
  User: {Type: Test::Thing, Properties: {Value: y, Uses: !Ref Base}}
  New: {Type: Test::Thing, Properties: {Value: new, Uses: !Ref User}}
  Last: {Type: Test::Thing, Properties: {Fail: create, Uses: !Ref New}}
Outputs: {Base: {Value: !Ref User}}";

#[test]
fn a_failed_update_goes_back_to_what_was() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let (before, stack) = (sorted(&world), describe(&world, "demo").unwrap());
    update(&world, "demo", SECOND).unwrap();
    pass(&world);
    let told = story(&world, "demo");
    let from = told.iter().position(|line| line.contains("ROLLBACK")).unwrap();
    assert_eq!(
        told[from..],
        [
            "demo UPDATE_ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Last].",
            "Base UPDATE_IN_PROGRESS",
            "Base UPDATE_COMPLETE",
            "User UPDATE_IN_PROGRESS",
            "User UPDATE_COMPLETE",
            "demo UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
            "Base DELETE_IN_PROGRESS",
            "Base DELETE_COMPLETE",
            "New DELETE_IN_PROGRESS",
            "New DELETE_COMPLETE",
            "demo UPDATE_ROLLBACK_COMPLETE",
        ]
    );
    assert!(told.contains(&"Last CREATE_FAILED told to fail at create".to_owned()), "{told:#?}");
    assert_eq!(sorted(&world), before);
    let now = describe(&world, "demo").unwrap();
    assert_eq!((now.outputs, now.parameters), (stack.outputs, stack.parameters));
    assert_eq!(update(&world, "demo", FIRST).unwrap_err().message, "No updates are to be performed.");
    // It can be updated again, and deleted to nothing.
    update(&world, "demo", &SECOND.replace("Fail: create, ", "")).unwrap();
    pass(&world);
    assert_eq!(values(&world), ["Base=two", "Last=", "New=new", "User=y"]);
    delete(&world, "demo");
    pass(&world);
    assert_eq!(things(&world), []);
}

#[test]
fn a_kill_at_any_step_of_a_rollback_loses_nothing() {
    let world = world();
    let id = create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let before = sorted(&world);
    update(&world, "demo", SECOND).unwrap();
    for _ in 0..60 {
        Reconciler::default().advance(&world.platform, &world.operations, &id, 1).unwrap();
    }
    assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(sorted(&world), before);
}

#[test]
fn a_failed_rollback_is_continued() {
    for skip in [false, true] {
        let world = world();
        create(&world, "demo", FIRST).unwrap();
        pass(&world);
        let before = sorted(&world);
        hold(&world, true);
        update(&world, "demo", &SECOND.replace("Value: y,", "Value: y, Fail: back,")).unwrap();
        pass(&world);
        let stack = describe(&world, "demo").unwrap();
        assert_eq!(stack.stack_status.as_deref(), Some("UPDATE_ROLLBACK_FAILED"), "{:#?}", story(&world, "demo"));
        assert_eq!(stack.stack_status_reason.as_deref(), Some("The following resource(s) failed to update: [User]."));
        let refused = update(&world, "demo", FIRST).unwrap_err().message;
        assert!(refused.ends_with("is in UPDATE_ROLLBACK_FAILED state and can not be updated."), "{refused}");
        let mut input = ContinueUpdateRollbackInput { stack_name: Some("demo".into()), ..Default::default() };
        if skip {
            input.resources_to_skip = Some(vec!["Base".into()]);
            world.call::<op::ContinueUpdateRollback>(input.clone()).unwrap_err();
            input.resources_to_skip = Some(vec!["User".into()]);
        } else {
            hold(&world, false);
        }
        world.call::<op::ContinueUpdateRollback>(input).unwrap();
        pass(&world);
        assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE", "{:#?}", story(&world, "demo"));
        if skip {
            assert!(values(&world).contains(&"User=y".to_owned()));
        } else {
            assert_eq!(sorted(&world), before);
        }
    }
}

#[test]
fn a_cancelled_update_goes_back() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let before = sorted(&world);
    let cancel = CancelUpdateStackInput { stack_name: Some("demo".into()), ..Default::default() };
    assert_eq!(
        world.call::<op::CancelUpdateStack>(cancel.clone()).unwrap_err().message,
        "CancelUpdateStack cannot be called from current stack status"
    );
    hold(&world, true);
    update(&world, "demo", &SECOND.replace("Value: y,", "Value: y, Slow: yes,")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_IN_PROGRESS");
    world.call::<op::CancelUpdateStack>(cancel).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(sorted(&world), before);
    let cancelled = events(&world, "demo").into_iter().filter(|e| {
        e.logical_resource_id.as_deref() == Some("User")
            && e.resource_status_reason.as_deref() == Some("Resource update cancelled")
    });
    assert_eq!(cancelled.count(), 1);
}

#[test]
fn a_failure_that_is_kept_is_rolled_back_or_tried_again_later() {
    for again in [false, true] {
        let world = world();
        create(&world, "demo", FIRST).unwrap();
        pass(&world);
        let before = sorted(&world);
        update_with(&world, "demo", SECOND, |input| input.disable_rollback = Some(true)).unwrap();
        pass(&world);
        assert_eq!(status(&world, "demo"), "UPDATE_FAILED");
        assert!(values(&world).contains(&"New=new".to_owned()));
        if again {
            // Base is replaced a second time; what is between goes too.
            let third = SECOND.replace("Fail: create, ", "").replace("Fixed: b", "Fixed: c");
            update(&world, "demo", &third).unwrap();
            pass(&world);
            assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE", "{:#?}", story(&world, "demo"));
            assert_eq!(values(&world), ["Base=two", "Last=", "New=new", "User=y"]);
        } else {
            let input = RollbackStackInput { stack_name: Some("demo".into()), ..Default::default() };
            world.call::<op::RollbackStack>(input.clone()).unwrap();
            pass(&world);
            assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
            assert_eq!(sorted(&world), before);
            world.call::<op::RollbackStack>(input).unwrap_err();
        }
    }
}

#[test]
fn a_creation_that_is_kept_is_mended_or_rolled_back() {
    let bad = "Resources: {A: {Type: Test::Thing, Properties: {Value: a}}, B: {Type: Test::Thing, Properties: {Fail: settle, Uses: !Ref A}}}";
    for mend in [false, true] {
        let world = world();
        let input = CreateStackInput {
            stack_name: Some("demo".into()),
            template_body: Some(bad.into()),
            disable_rollback: Some(true),
            ..Default::default()
        };
        world.call::<op::CreateStack>(input).unwrap();
        pass(&world);
        assert_eq!(status(&world, "demo"), "CREATE_FAILED");
        if mend {
            update(&world, "demo", &bad.replace("Fail: settle", "Value: b")).unwrap();
            pass(&world);
            assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE", "{:#?}", story(&world, "demo"));
            assert_eq!(values(&world), ["A=a", "B=b"]);
        } else {
            let input = RollbackStackInput { stack_name: Some("demo".into()), ..Default::default() };
            world.call::<op::RollbackStack>(input).unwrap();
            pass(&world);
            assert_eq!(status(&world, "demo"), "ROLLBACK_COMPLETE");
            assert_eq!(things(&world), []);
        }
    }
}

#[test]
fn a_name_that_is_taken_cannot_be_replaced() {
    let world = world();
    let named = "Resources: {A: {Type: Test::Thing, Properties: {Name: mine, Fixed: a}}}";
    create(&world, "demo", named).unwrap();
    pass(&world);
    update(&world, "demo", &named.replace("Fixed: a", "Fixed: b")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
    let told = story(&world, "demo");
    assert!(
        told.contains(&"A UPDATE_FAILED CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename mine and update the stack again.".to_owned()),
        "{told:#?}"
    );
    update(&world, "demo", &named.replace("Fixed: a", "Fixed: b").replace("mine", "yours")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    assert_eq!(things(&world).iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["yours"]);
}

#[test]
fn stack_policies_forbid() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let before = sorted(&world);
    let policy = r#"{"Statement": [
        {"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["Update:Replace", "Update:Delete"], "Principal": "*", "Resource": "*",
         "Condition": {"StringEquals": {"ResourceType": ["Test::Thing"]}}}]}"#;
    let input = SetStackPolicyInput {
        stack_name: Some("demo".into()),
        stack_policy_body: Some(policy.into()),
        ..Default::default()
    };
    world.call::<op::SetStackPolicy>(input).unwrap();
    let read = world.call::<op::GetStackPolicy>(GetStackPolicyInput { stack_name: Some("demo".into()) }).unwrap();
    assert_eq!(read.stack_policy_body.as_deref(), Some(policy));
    for (template, id, action) in [
        (FIRST.replace("Fixed: a", "Fixed: b"), "Base", "Update:Replace"),
        (FIRST.replace("  Old: {Type: Test::Thing, Properties: {Value: stays}}\n", ""), "Old", "Update:Delete"),
    ] {
        update(&world, "demo", &template).unwrap();
        pass(&world);
        assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE", "{action}");
        let denied = format!(
            "{id} UPDATE_FAILED Action denied by stack policy: Statement [#2] does not allow [Update:Replace, Update:Delete] for resource [*];"
        );
        assert!(story(&world, "demo").contains(&denied), "{:#?}", story(&world, "demo"));
        assert_eq!(sorted(&world), before);
    }
    update(&world, "demo", &FIRST.replace("Value: x", "Value: z")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    let during = r#"{"Statement": [{"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}]}"#;
    let replaced = FIRST.replace("Fixed: a", "Fixed: b");
    update_with(&world, "demo", &replaced, |i| i.stack_policy_during_update_body = Some(during.into())).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
}

#[test]
fn exports_in_use_do_not_change() {
    let world = world();
    let exporting = "Resources: {A: {Type: Test::Thing, Properties: {Value: v, Fixed: a}}}
Outputs: {A: {Value: !Ref A, Export: {Name: the-a}}}";
    create(&world, "net", exporting).unwrap();
    pass(&world);
    create(&world, "user", "Resources: {B: {Type: Test::Thing, Properties: {Uses: !ImportValue the-a}}}").unwrap();
    pass(&world);
    let before = sorted(&world);
    for (template, what) in [
        (exporting.replace("Fixed: a", "Fixed: b"), "updated"),
        (exporting.replace("Export: {Name: the-a}", "Description: none"), "deleted"),
    ] {
        update(&world, "net", &template).unwrap();
        pass(&world);
        let reason = format!("net UPDATE_ROLLBACK_IN_PROGRESS Export the-a cannot be {what} as it is in use by user");
        assert!(story(&world, "net").contains(&reason), "{:#?}", story(&world, "net"));
        assert_eq!(sorted(&world), before);
    }
    // The user lets go; then it may.
    update(&world, "user", "Resources: {B: {Type: Test::Thing, Properties: {Uses: nothing}}}").unwrap();
    pass(&world);
    update(&world, "net", &exporting.replace("Fixed: a", "Fixed: b")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "net"), "UPDATE_COMPLETE");
}

#[test]
fn termination_protection_is_switched() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let switch = |on| {
        let input = UpdateTerminationProtectionInput {
            stack_name: Some("demo".into()),
            enable_termination_protection: Some(on),
        };
        world.call::<op::UpdateTerminationProtection>(input).unwrap();
    };
    switch(true);
    let input = quarry_aws::cloudformation::DeleteStackInput { stack_name: Some("demo".into()), ..Default::default() };
    let refused = world.call::<op::DeleteStack>(input.clone()).unwrap_err().message;
    assert_eq!(refused, "Stack [demo] cannot be deleted while TerminationProtection is enabled");
    switch(false);
    world.call::<op::DeleteStack>(input).unwrap();
    pass(&world);
    assert_eq!(things(&world), []);
}

/// A template of up to six things: each has a value, what it is replaced for, what it uses, and where it fails.
fn template(rows: &[(u8, u8, u8)], broken: Option<usize>) -> String {
    let mut text = String::from("Resources:\n  Always: {Type: Test::Thing}\n");
    for (i, (value, fixed, uses)) in rows.iter().enumerate() {
        if *value == 0 {
            continue;
        }
        let needs: Vec<String> =
            (0..i).filter(|j| uses & (1 << j) != 0 && rows[*j].0 != 0).map(|j| format!("!Ref T{j}")).collect();
        let fail = if broken == Some(i) { "Fail: create update, " } else { "" };
        text.push_str(&format!(
            "  T{i}: {{Type: Test::Thing, Properties: {{{fail}Value: v{value}, Fixed: f{fixed}, Uses: [{}]}}}}\n",
            needs.join(", ")
        ));
    }
    text
}

fn rows() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    proptest::collection::vec((0..3u8, 0..2u8, any::<u8>()), 6)
}

/// What there is, without the random ends of names.
fn shape(world: &World) -> Vec<String> {
    let short = |text: &str| text.rsplit_once('-').map_or(text.to_owned(), |(head, _)| head.to_owned());
    let line = |t: &Existing| {
        let uses: Vec<String> = t
            .properties
            .get("Uses")
            .and_then(|u| u.as_array())
            .into_iter()
            .flatten()
            .filter_map(|u| u.as_str())
            .map(short)
            .collect();
        format!("{} {:?} {:?} {uses:?}", short(&t.id), t.properties.get("Value"), t.properties.get("Fixed"))
    };
    let mut all: Vec<String> = things(world).iter().map(line).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the templates are: an update ends as a creation of the second would, or, if it fails, as
    /// it began; with a fresh reconciler for each step; and every reference leads to what exists.
    #[test]
    fn any_update_ends_where_it_should(first in rows(), second in rows(), broken in proptest::option::of(0..6usize)) {
        let world = world();
        let id = create(&world, "demo", &template(&first, None)).unwrap();
        pass(&world);
        let before = sorted(&world);
        let target = template(&second, broken);
        if update(&world, "demo", &target).is_ok() {
            for _ in 0..200 {
                if !Reconciler::default().advance(&world.platform, &world.operations, &id, 1).unwrap() {
                    break;
                }
            }
        }
        let end = status(&world, "demo");
        if end == "UPDATE_ROLLBACK_COMPLETE" {
            prop_assert!(broken.is_some());
            prop_assert_eq!(sorted(&world), before);
        } else {
            prop_assert!(end == "UPDATE_COMPLETE" || end == "CREATE_COMPLETE", "{}", end);
            let fresh = super::tests::world();
            create(&fresh, "demo", &template(&second, None)).unwrap();
            pass(&fresh);
            prop_assert_eq!(shape(&world), shape(&fresh));
        }
        let ids: Vec<String> = things(&world).into_iter().map(|t| t.id).collect();
        for thing in things(&world) {
            for used in thing.properties.get("Uses").and_then(|u| u.as_array()).into_iter().flatten() {
                prop_assert!(ids.contains(&used.as_str().unwrap().to_owned()), "{} uses {}", thing.id, used);
            }
        }
        delete(&world, "demo");
        pass(&world);
        prop_assert_eq!(things(&world), vec![]);
    }
}
