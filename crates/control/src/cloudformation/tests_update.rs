//! Updates: what they change, in which order, and that a kill at any step changes nothing of it.

use super::reconcile::Reconciler;
use super::resource::thing::Existing;
use super::tests::{create, describe, events, pass, status, world};
use crate::api::Result;
use crate::testing::World;
use quarry_aws::cloudformation::{
    Change, CreateChangeSetInput, DescribeChangeSetInput, DescribeChangeSetOutput, ExecuteChangeSetInput, Parameter,
    Tag, UpdateStackInput, op,
};

pub(super) fn things(world: &World) -> Vec<Existing> {
    world.platform.store.read(|tx| tx.all::<Existing>()).unwrap()
}

/// Of every thing: logical id (from its generated name) and value.
pub(super) fn values(world: &World) -> Vec<String> {
    let name = |t: &Existing| {
        let logical = t.id.split('-').nth(1).unwrap_or(&t.id).to_owned();
        format!("{logical}={}", t.properties.get("Value").and_then(|v| v.as_str()).unwrap_or_default())
    };
    let mut all: Vec<String> = things(world).iter().map(name).collect();
    all.sort();
    all
}

pub(super) fn update(world: &World, name: &str, template: &str) -> Result<()> {
    update_with(world, name, template, |_| {})
}

pub(super) fn update_with(
    world: &World,
    name: &str,
    template: &str,
    more: impl Fn(&mut UpdateStackInput),
) -> Result<()> {
    let mut input =
        UpdateStackInput { stack_name: Some(name.into()), template_body: Some(template.into()), ..Default::default() };
    more(&mut input);
    world.call::<op::UpdateStack>(input).map(|_| ())
}

/// Lines of the history from the latest "User Initiated" on: logical id, status, reason.
pub(super) fn story(world: &World, name: &str) -> Vec<String> {
    let all = events(world, name);
    let start = all.iter().rposition(|e| e.resource_status_reason.as_deref() == Some("User Initiated")).unwrap_or(0);
    let line = |e: &quarry_aws::cloudformation::StackEvent| {
        let (id, status) = (e.logical_resource_id.as_deref().unwrap(), e.resource_status.as_deref().unwrap());
        match e.resource_status_reason.as_deref() {
            Some(reason) => format!("{id} {status} {reason}"),
            None => format!("{id} {status}"),
        }
    };
    all[start..].iter().map(line).collect()
}

pub(super) fn parameter(key: &str, value: &str) -> Parameter {
    Parameter { parameter_key: Some(key.into()), parameter_value: Some(value.into()), ..Default::default() }
}

const FIRST: &str = "
Parameters: {P: {Type: String, Default: one}}
Resources:
  Base: {Type: Test::Thing, Properties: {Value: !Ref P, Fixed: a}}
  User: {Type: Test::Thing, Properties: {Value: x, Uses: !Ref Base}}
  Other: {Type: Test::Thing, Properties: {Value: same}}
  Old: {Type: Test::Thing, Properties: {Value: gone, Uses: !Ref User}}
Outputs: {Base: {Value: !Ref Base}, Copy: {Value: !GetAtt User.Value}}";
const SECOND: &str = "
Parameters: {P: {Type: String, Default: one}}
Resources:
  Base: {Type: Test::Thing, Properties: {Value: !Ref P, Fixed: b}}
  User: {Type: Test::Thing, Properties: {Value: y, Uses: !Ref Base}}
  Other: {Type: Test::Thing, Properties: {Value: same}}
  New: {Type: Test::Thing, Properties: {Value: !GetAtt User.Value}}
Outputs: {Base: {Value: !Ref Base}, Copy: {Value: !GetAtt User.Value}}";

fn output(world: &World, key: &str) -> String {
    let outputs = describe(world, "demo").unwrap().outputs.unwrap();
    outputs.into_iter().find(|o| o.output_key.as_deref() == Some(key)).unwrap().output_value.unwrap()
}

#[test]
fn an_update_changes_replaces_adds_and_removes_in_order() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
    let base = output(&world, "Base");
    update(&world, "demo", SECOND).unwrap();
    assert_eq!(status(&world, "demo"), "UPDATE_IN_PROGRESS");
    pass(&world);
    assert_eq!(
        story(&world, "demo"),
        [
            "demo UPDATE_IN_PROGRESS User Initiated",
            "Base UPDATE_IN_PROGRESS Requested update requires the creation of a new physical resource; hence creating one.",
            "Base UPDATE_IN_PROGRESS Resource creation Initiated",
            "Base UPDATE_COMPLETE",
            "User UPDATE_IN_PROGRESS",
            "User UPDATE_COMPLETE",
            "New CREATE_IN_PROGRESS",
            "New CREATE_IN_PROGRESS Resource creation Initiated",
            "New CREATE_COMPLETE",
            "demo UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
            "Base DELETE_IN_PROGRESS",
            "Base DELETE_COMPLETE",
            "Old DELETE_IN_PROGRESS",
            "Old DELETE_COMPLETE",
            "demo UPDATE_COMPLETE",
        ]
    );
    assert_eq!(values(&world), ["Base=one", "New=y", "Other=same", "User=y"]);
    assert_ne!(output(&world, "Base"), base);
    assert_eq!(output(&world, "Copy"), "y");
    let user = things(&world).into_iter().find(|t| t.id.contains("-User-")).unwrap();
    assert_eq!(user.properties["Uses"], output(&world, "Base"));
    assert!(describe(&world, "demo").unwrap().last_updated_time.is_some());
}

#[test]
fn a_kill_at_any_step_of_an_update_makes_nothing_twice() {
    let world = world();
    let id = create(&world, "demo", FIRST).unwrap();
    pass(&world);
    update(&world, "demo", SECOND).unwrap();
    for _ in 0..60 {
        Reconciler::default().advance(&world.platform, &world.operations, &id, 1).unwrap();
    }
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    assert_eq!(values(&world), ["Base=one", "New=y", "Other=same", "User=y"]);
    assert_eq!(story(&world, "demo").len(), 15);
}

#[test]
fn nothing_to_do_is_told() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let refused = |result: Result<()>| result.unwrap_err().message;
    assert_eq!(refused(update(&world, "demo", FIRST)), "No updates are to be performed.");
    let described = format!("Description: more\n{FIRST}");
    assert_eq!(refused(update(&world, "demo", &described)), "No updates are to be performed.");
    assert_eq!(refused(update(&world, "nope", FIRST)), "Stack [nope] does not exist");
    let retyped = FIRST
        .replace("Other: {Type: Test::Thing, Properties: {Value: same}}", "Other: {Type: AWS::EC2::InternetGateway}");
    assert_eq!(
        refused(update(&world, "demo", &retyped)),
        "Update of resource type is not permitted. The new template modifies resource type of the following resources: [Other]"
    );
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
    // Outputs alone, and tags alone, are something.
    update(&world, "demo", &FIRST.replace("!GetAtt User.Value", "!Ref User")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    let tag = Tag { key: Some("team".into()), value: Some("blue".into()) };
    let tagged = |input: &mut UpdateStackInput| {
        input.template_body = None;
        input.use_previous_template = Some(true);
        input.tags = Some(vec![tag.clone()]);
    };
    update_with(&world, "demo", "", tagged).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    assert!(things(&world).iter().all(|t| t.tags.iter().any(|tag| tag["Key"] == "team")));
    assert_eq!(refused(update_with(&world, "demo", "", tagged)), "No updates are to be performed.");
}

#[test]
fn parameters_change_or_stay() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let input = |value: Option<&str>| UpdateStackInput {
        stack_name: Some("demo".into()),
        use_previous_template: Some(true),
        parameters: Some(vec![match value {
            Some(value) => parameter("P", value),
            None => Parameter { parameter_key: Some("P".into()), use_previous_value: Some(true), ..Default::default() },
        }]),
        client_request_token: Some(format!("token-{value:?}")),
        ..Default::default()
    };
    world.call::<op::UpdateStack>(input(Some("two"))).unwrap();
    // The same request again is the same update.
    world.call::<op::UpdateStack>(input(Some("two"))).unwrap();
    pass(&world);
    assert!(values(&world).contains(&"Base=two".to_owned()));
    assert_eq!(world.call::<op::UpdateStack>(input(None)).unwrap_err().message, "No updates are to be performed.");
    // Without a value it is the default's again.
    update(&world, "demo", FIRST).unwrap();
    pass(&world);
    assert!(values(&world).contains(&"Base=one".to_owned()));
}

fn change_set(world: &World, name: &str, template: &str, parameters: Vec<Parameter>) -> DescribeChangeSetOutput {
    let input = CreateChangeSetInput {
        stack_name: Some("demo".into()),
        change_set_name: Some(name.into()),
        change_set_type: Some("UPDATE".into()),
        template_body: Some(template.into()),
        parameters: Some(parameters),
        ..Default::default()
    };
    let made = world.call::<op::CreateChangeSet>(input).unwrap();
    let look =
        DescribeChangeSetInput { change_set_name: made.id, include_property_values: Some(true), ..Default::default() };
    world.call::<op::DescribeChangeSet>(look).unwrap()
}

/// A change in a line: action, id, replacement, details.
fn line(change: &Change) -> String {
    let change = change.resource_change.as_ref().unwrap();
    let details = change.details.iter().flatten().map(|d| {
        let target = d.target.as_ref().unwrap();
        format!(
            "{}:{}:{}:{}:{}",
            target.name.as_deref().or(target.attribute.as_deref()).unwrap_or_default(),
            target.requires_recreation.as_deref().unwrap(),
            d.evaluation.as_deref().unwrap(),
            d.change_source.as_deref().unwrap(),
            d.causing_entity.as_deref().unwrap_or("-"),
        )
    });
    let mut words = vec![change.action.clone().unwrap(), change.logical_resource_id.clone().unwrap()];
    words.extend(change.replacement.clone());
    words.extend(change.policy_action.clone());
    words.extend(details);
    words.join(" ")
}

#[test]
fn a_change_set_says_what_an_update_will_do() {
    let world = world();
    create(&world, "demo", FIRST).unwrap();
    pass(&world);
    let set = change_set(&world, "second", SECOND, vec![parameter("P", "two")]);
    let changes = set.changes.unwrap();
    let target = changes[0].resource_change.as_ref().unwrap().details.as_ref().unwrap()[0].target.clone().unwrap();
    assert_eq!((target.before_value.as_deref(), target.after_value.as_deref()), (Some("a"), Some("b")));
    let lines: Vec<String> = changes.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "Modify Base True ReplaceAndDelete Fixed:Always:Static:DirectModification:- Value:Never:Static:ParameterReference:P Value:Never:Dynamic:DirectModification:-",
            "Add New",
            "Remove Old Delete",
            "Modify User False Uses:Never:Dynamic:ResourceReference:Base Value:Never:Static:DirectModification:-",
        ]
    );
    assert_eq!(set.execution_status.as_deref(), Some("AVAILABLE"));
    let stale = change_set(&world, "stale", SECOND, vec![]);
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
    let execute = ExecuteChangeSetInput { change_set_name: set.change_set_id, ..Default::default() };
    world.call::<op::ExecuteChangeSet>(execute).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    assert_eq!(values(&world), ["Base=two", "New=y", "Other=same", "User=y"]);
    let look = DescribeChangeSetInput { change_set_name: stale.change_set_id, ..Default::default() };
    assert_eq!(world.call::<op::DescribeChangeSet>(look).unwrap_err().code, "ChangeSetNotFound");
    let none = change_set(&world, "none", SECOND, vec![parameter("P", "two")]);
    assert_eq!(none.status.as_deref(), Some("FAILED"));
    assert_eq!(
        none.status_reason.as_deref(),
        Some("The submitted information didn't contain changes. Submit different information to create a change set.")
    );
    let text = format!("Description: other words\n{SECOND}");
    let none = change_set(&world, "words", &text, vec![parameter("P", "two")]);
    assert_eq!(none.status_reason.as_deref(), Some("No updates are to be performed."));
    let late = change_set(&world, "late", FIRST, vec![]);
    update(&world, "demo", FIRST).unwrap();
    pass(&world);
    let look = DescribeChangeSetInput { change_set_name: late.change_set_id.clone(), ..Default::default() };
    let late_now = world.call::<op::DescribeChangeSet>(look).unwrap();
    assert_eq!(late_now.execution_status.as_deref(), Some("OBSOLETE"));
    let execute = ExecuteChangeSetInput { change_set_name: late.change_set_id, ..Default::default() };
    assert_eq!(world.call::<op::ExecuteChangeSet>(execute).unwrap_err().code, "InvalidChangeSetStatus");
}

#[test]
fn policies_say_what_stays() {
    let world = world();
    let first = "
Resources:
  Kept: {Type: Test::Thing, DeletionPolicy: Retain, Properties: {Value: k}}
  Twice: {Type: Test::Thing, UpdateReplacePolicy: Retain, Properties: {Value: t, Fixed: a}}
  Rest: {Type: Test::Thing, Properties: {Value: r}}";
    let second = "
Resources:
  Twice: {Type: Test::Thing, UpdateReplacePolicy: Retain, Properties: {Value: u, Fixed: b}}
  Rest: {Type: Test::Thing, Properties: {Value: r}}";
    create(&world, "demo", first).unwrap();
    pass(&world);
    update(&world, "demo", second).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_COMPLETE");
    assert_eq!(values(&world), ["Kept=k", "Rest=r", "Twice=t", "Twice=u"]);
    let skipped = story(&world, "demo").into_iter().filter(|line| line.ends_with("DELETE_SKIPPED")).count();
    assert_eq!(skipped, 2);
    let snapshot = second.replace("UpdateReplacePolicy: Retain", "DeletionPolicy: Snapshot");
    assert_eq!(
        update(&world, "demo", &snapshot).unwrap_err().message,
        "Template error: resource type Test::Thing does not support deletion policy Snapshot"
    );
}

#[test]
fn what_cannot_be_cleaned_up_does_not_fail_the_update() {
    let world = world();
    let first = "Resources: {A: {Type: Test::Thing, Properties: {Fail: delete}}, B: {Type: Test::Thing}}";
    create(&world, "demo", first).unwrap();
    pass(&world);
    update(&world, "demo", "Resources: {B: {Type: Test::Thing}}").unwrap();
    pass(&world);
    let stack = describe(&world, "demo").unwrap();
    assert_eq!(stack.stack_status.as_deref(), Some("UPDATE_COMPLETE"));
    assert_eq!(
        stack.stack_status_reason.as_deref(),
        Some("Update successful. One or more resources could not be deleted.")
    );
    // It is the stack's no more.
    update(&world, "demo", "Resources: {B: {Type: Test::Thing, Properties: {Value: x}}}").unwrap();
    pass(&world);
    assert_eq!(describe(&world, "demo").unwrap().stack_status_reason, None);
}
