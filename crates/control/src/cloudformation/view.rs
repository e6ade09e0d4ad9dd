//! A stack's records and template as the planner sees them.

use super::carry::Parsed;
use super::plan::{Doomed, Node, Stage, Target, View};
use super::records::{DeletionPolicy, Phase, ResourceStatus, Stack, StackResource, StackStatus};
use super::world::World;
use crate::api::{Ctx, Result};
use std::collections::HashMap;

/// What the planner has to know. The template counts only while the stack goes forwards.
pub fn view(ctx: &Ctx<'_>, stack: &Stack, parsed: &Parsed, records: &[StackResource]) -> Result<View> {
    let mut view = View { status: stack.status, wanted: Vec::new(), doomed: Vec::new() };
    match stack.status {
        StackStatus::CreateInProgress | StackStatus::UpdateInProgress => {
            view.wanted = from_template(ctx, stack, parsed, records)?;
        }
        StackStatus::UpdateRollbackInProgress => {
            let old = records.iter().filter(|r| !r.born);
            view.wanted = old
                .map(|r| Node {
                    logical_id: r.logical_id.clone(),
                    needs: r.before.as_ref().map_or(&r.state, |before| before).needs.clone(),
                    stage: back(r),
                })
                .collect();
            // A resource may need one that it did not need before, and that never came to be.
            let there: Vec<String> = view.wanted.iter().map(|n| n.logical_id.clone()).collect();
            view.wanted.iter_mut().for_each(|node| node.needs.retain(|need| there.contains(need)));
        }
        StackStatus::DeleteInProgress | StackStatus::RollbackInProgress => {
            view.doomed = records.iter().flat_map(|r| doomed(stack, r, true)).collect();
        }
        StackStatus::UpdateCompleteCleanupInProgress | StackStatus::UpdateRollbackCompleteCleanupInProgress => {
            view.doomed = records.iter().flat_map(|r| doomed(stack, r, r.doomed)).collect();
        }
        StackStatus::ReviewInProgress
        | StackStatus::CreateComplete
        | StackStatus::CreateFailed
        | StackStatus::RollbackComplete
        | StackStatus::RollbackFailed
        | StackStatus::DeleteComplete
        | StackStatus::DeleteFailed
        | StackStatus::UpdateComplete
        | StackStatus::UpdateFailed
        | StackStatus::UpdateRollbackComplete
        | StackStatus::UpdateRollbackFailed => {}
    }
    Ok(view)
}

fn from_template(ctx: &Ctx<'_>, stack: &Stack, parsed: &Parsed, records: &[StackResource]) -> Result<Vec<Node>> {
    let by_id: HashMap<&str, &StackResource> = records.iter().map(|r| (r.logical_id.as_str(), r)).collect();
    let world = World::default();
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let resources = &parsed.template.resources;
    let included = |id: &str| resources.get(id).is_some_and(|r| evaluator.holds(r.condition.as_deref()));
    let node = |id: &String| Node {
        logical_id: id.clone(),
        needs: parsed.needs[id].iter().filter(|need| included(need)).cloned().collect(),
        stage: by_id.get(id.as_str()).map_or(Stage::Absent, |record| forth(stack, record)),
    };
    let mut nodes: Vec<Node> = resources.keys().filter(|id| included(id)).map(node).collect();
    // A stack policy keeps what the template has no more.
    let kept = records.iter().filter(|r| r.doomed && r.status == ResourceStatus::UpdateFailed);
    nodes.extend(kept.map(|r| Node {
        logical_id: r.logical_id.clone(),
        needs: Default::default(),
        stage: Stage::Failed,
    }));
    Ok(nodes)
}

/// How far a resource is in a creation or an update.
fn forth(stack: &Stack, record: &StackResource) -> Stage {
    let updates = stack.status == StackStatus::UpdateInProgress;
    match record.status {
        ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped => Stage::Absent,
        ResourceStatus::CreateInProgress | ResourceStatus::UpdateInProgress => Stage::Busy,
        ResourceStatus::CreateFailed | ResourceStatus::UpdateFailed if updates => match record.phase {
            // It failed in an earlier update.
            None => Stage::Unseen,
            Some(Phase::Modify | Phase::Replace) => Stage::Due,
            Some(Phase::Done) => Stage::Failed,
        },
        ResourceStatus::CreateFailed | ResourceStatus::UpdateFailed => Stage::Failed,
        ResourceStatus::CreateComplete
        | ResourceStatus::UpdateComplete
        | ResourceStatus::DeleteInProgress
        | ResourceStatus::DeleteFailed => match record.phase {
            None if updates => Stage::Unseen,
            Some(Phase::Modify | Phase::Replace) if updates => Stage::Due,
            _ => Stage::Done,
        },
    }
}

/// How far a resource is in the rollback of an update.
fn back(record: &StackResource) -> Stage {
    match (record.status, record.phase) {
        (ResourceStatus::UpdateInProgress | ResourceStatus::CreateInProgress, _) => Stage::Busy,
        (ResourceStatus::UpdateFailed | ResourceStatus::CreateFailed, Some(_)) => Stage::Failed,
        (ResourceStatus::UpdateFailed | ResourceStatus::CreateFailed, None) => Stage::Due,
        _ if record.before.is_some() => Stage::Due,
        _ => Stage::Done,
    }
}

fn doomed(stack: &Stack, record: &StackResource, itself: bool) -> Vec<Doomed> {
    let mut doomed = Vec::new();
    let there = !matches!(record.status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped);
    if itself && there && record.state.physical_id.is_some() {
        let policy = record.state.deletion_policy;
        let undone = matches!(
            stack.status,
            StackStatus::RollbackInProgress | StackStatus::UpdateRollbackCompleteCleanupInProgress
        );
        let kept = if undone {
            policy == DeletionPolicy::Retain && !stack.delete_new
        } else {
            policy != DeletionPolicy::Delete
        };
        doomed.push(Doomed {
            target: Target::resource(&record.logical_id),
            needs: record.state.needs.clone(),
            failed: record.status == ResourceStatus::DeleteFailed,
            retain: kept || stack.retained.contains(&record.logical_id),
        });
    }
    for leftover in &record.leftovers {
        doomed.push(Doomed {
            target: Target {
                logical_id: record.logical_id.clone(),
                replaced: Some(leftover.state.physical_id.clone().unwrap_or_default()),
            },
            needs: leftover.state.needs.clone(),
            failed: leftover.status == Some(ResourceStatus::DeleteFailed),
            retain: leftover.retain || stack.retained.contains(&record.logical_id),
        });
    }
    doomed
}
