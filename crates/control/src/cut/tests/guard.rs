//! What a running cut stands on is not changed from outside.

use super::{Stage, quick};
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::snapshot::CutScope;

#[test]
fn the_rule_of_a_running_cut_is_its_own() {
    let stage = Stage::new(quick());
    let cut = stage.cut();
    let code = |refused: Option<quarry_wire::ServiceError>| refused.map(|error| error.code.to_string());
    let not_permitted = Some("OperationNotPermitted".to_owned());
    let arn = Some(cut.rule.arn.clone());
    let world = &stage.world;
    let actions = crate::elbv2::tests::forward(&cut.to.target_group_arn);
    let modify = aws::ModifyRuleInput { rule_arn: arn.clone(), actions, ..Default::default() };
    assert_eq!(code(world.call::<op::ModifyRule>(modify).err()), not_permitted);
    let delete = aws::DeleteRuleInput { rule_arn: arn.clone() };
    assert_eq!(code(world.call::<op::DeleteRule>(delete).err()), not_permitted);
    let pair = aws::RulePriorityPair { rule_arn: arn, priority: Some(99) };
    let move_it = aws::SetRulePrioritiesInput { rule_priorities: Some(vec![pair]) };
    assert_eq!(code(world.call::<op::SetRulePriorities>(move_it).err()), not_permitted);
    let delete = aws::DeleteListenerInput { listener_arn: Some(stage.listener.clone()) };
    assert_eq!(code(world.call::<op::DeleteListener>(delete).err()), not_permitted);
    for group in [&cut.from.target_group_arn, &cut.to.target_group_arn] {
        let delete = aws::DeleteTargetGroupInput { target_group_arn: Some(group.clone()) };
        assert_eq!(code(world.call::<op::DeleteTargetGroup>(delete).err()).as_deref(), Some("ResourceInUse"));
    }
    // A rule that comes before and takes its requests away; one that does not is as good as ever.
    world
        .transact(|ctx| {
            let mut rule = crate::elbv2::find::rule(ctx.tx, Some(&cut.rule.arn), "modified")?;
            rule.priority = 10;
            Ok(ctx.tx.put(&rule)?)
        })
        .unwrap();
    let rule = |path: &str, priority| aws::CreateRuleInput {
        listener_arn: Some(stage.listener.clone()),
        priority: Some(priority),
        conditions: Some(vec![aws::RuleCondition {
            field: Some("path-pattern".into()),
            values: Some(vec![path.into()]),
            ..Default::default()
        }]),
        actions: crate::elbv2::tests::forward(&cut.from.target_group_arn),
        ..Default::default()
    };
    assert_eq!(code(world.call::<op::CreateRule>(rule("/api/*", 5)).err()), not_permitted);
    assert_eq!(code(world.call::<op::CreateRule>(rule("/api/users*", 5)).err()), None);
    assert_eq!(code(world.call::<op::CreateRule>(rule("/api/*", 11)).err()), None);
}

#[test]
fn the_snapshot_says_what_the_journal_says() {
    let stage = Stage::new(quick());
    let scopes = || stage.world.platform.store.read(crate::cut::rule::scopes).unwrap();
    assert!(scopes().is_empty(), "nothing is known of epochs before both sides are prepared");
    stage
        .world
        .transact(|ctx| {
            let mut cut = stage.cut();
            cut.progress.route.version = 3;
            cut.progress.route.epoch = 7;
            cut.progress.route.shadow = true;
            cut.spec.shadow_percent = Some(50);
            Ok(ctx.tx.put(&cut)?)
        })
        .unwrap();
    let cut = stage.cut();
    let CutScope { version, epoch, hold, contract, shadow, canary, .. } = scopes().remove(&cut.rule.arn).unwrap();
    assert_eq!((version, epoch, hold, contract, canary), (3, 7, false, true, None));
    let shadow = shadow.unwrap();
    assert_eq!((shadow.target_group_arn, shadow.share_percent), (cut.to.target_group_arn, 50));
}
