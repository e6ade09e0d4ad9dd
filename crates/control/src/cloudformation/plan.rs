//! What to do next about a stack, purely.
//!
//! Making and changing go forwards: each resource after those that it needs. Deleting goes backwards.
//! An update is a way forwards and then the deletion of what is needed no more; its rollback is the
//! same, towards what was before.

use super::records::StackStatus;
use std::collections::BTreeSet;

/// A stack as the planner sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub status: StackStatus,
    /// What the stack is to have.
    pub wanted: Vec<Node>,
    /// What is to go.
    pub doomed: Vec<Doomed>,
}

/// A resource that the stack is to have.
#[derive(Clone, Debug)]
pub struct Node {
    pub logical_id: String,
    /// Those that come before it. What the stack is not to have is not waited for.
    pub needs: BTreeSet<String>,
    pub stage: Stage,
}

/// How far a resource is on its way forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not there.
    Absent,
    /// It is there, and it is not known whether it is as it should be.
    Unseen,
    /// It has to be changed.
    Due,
    /// Something was begun that takes a while.
    Busy,
    Done,
    Failed,
}

/// A physical resource that is to go.
#[derive(Clone, Debug)]
pub struct Doomed {
    pub target: Target,
    pub needs: BTreeSet<String>,
    /// Its deletion failed.
    pub failed: bool,
    /// It stays where it is.
    pub retain: bool,
}

/// A physical resource of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub logical_id: String,
    /// Of one that was replaced; `None` for the resource itself.
    pub replaced: Option<String>,
}

/// One thing to do, in a transaction of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Create(String),
    /// Find out what has to be changed about these.
    Compare(Vec<String>),
    /// Change it, or change it back.
    Change(String),
    /// Look whether it is ready.
    Settle(String),
    Delete(Target),
    /// Leave it where it is and forget it.
    Skip(Target),
    /// All that is wanted is there.
    Complete,
    /// Those named could not be made or changed.
    Fail(Vec<String>),
    /// Nothing is left that could be deleted; those named could not.
    Gone(Vec<String>),
}

/// All that can be done now. Empty: nothing, or it is over.
pub fn plan(view: &View) -> Vec<Step> {
    match view.status {
        StackStatus::CreateInProgress | StackStatus::UpdateInProgress | StackStatus::UpdateRollbackInProgress => {
            forwards(view)
        }
        StackStatus::RollbackInProgress
        | StackStatus::DeleteInProgress
        | StackStatus::UpdateCompleteCleanupInProgress
        | StackStatus::UpdateRollbackCompleteCleanupInProgress => backwards(view),
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
        | StackStatus::UpdateRollbackFailed => Vec::new(),
    }
}

fn forwards(view: &View) -> Vec<Step> {
    let at = |stage: Stage| view.wanted.iter().filter(move |n| n.stage == stage).map(|n| n.logical_id.clone());
    let failed: Vec<String> = at(Stage::Failed).collect();
    if !failed.is_empty() {
        return vec![Step::Fail(failed)];
    }
    let missing: BTreeSet<&str> =
        view.wanted.iter().filter(|n| n.stage != Stage::Done).map(|n| n.logical_id.as_str()).collect();
    if missing.is_empty() {
        return vec![Step::Complete];
    }
    let ready = |node: &&Node| node.needs.iter().all(|need| !missing.contains(need.as_str()));
    let mut unseen = Vec::new();
    let mut steps = Vec::new();
    for node in view.wanted.iter().filter(ready) {
        match node.stage {
            Stage::Absent => steps.push(Step::Create(node.logical_id.clone())),
            Stage::Unseen => unseen.push(node.logical_id.clone()),
            Stage::Due => steps.push(Step::Change(node.logical_id.clone())),
            Stage::Busy | Stage::Done | Stage::Failed => {}
        }
    }
    if !unseen.is_empty() {
        steps.insert(0, Step::Compare(unseen));
    }
    steps.extend(at(Stage::Busy).map(Step::Settle));
    steps
}

fn backwards(view: &View) -> Vec<Step> {
    let needed = |target: &Target| {
        let others = view.doomed.iter().filter(|other| other.target.logical_id != target.logical_id);
        others.into_iter().any(|other| other.needs.contains(&target.logical_id))
    };
    let open = view.doomed.iter().filter(|d| !d.failed && !needed(&d.target));
    let steps: Vec<Step> =
        open.map(|d| if d.retain { Step::Skip(d.target.clone()) } else { Step::Delete(d.target.clone()) }).collect();
    if !steps.is_empty() {
        return steps;
    }
    vec![Step::Gone(view.doomed.iter().filter(|d| d.failed).map(|d| d.target.logical_id.clone()).collect())]
}

impl Target {
    /// The resource itself.
    pub fn resource(logical_id: &str) -> Self {
        Self { logical_id: logical_id.to_owned(), replaced: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};

    /// Any graph without cycles: each resource needs some of those before it.
    fn graphs() -> impl Strategy<Value = Vec<BTreeSet<String>>> {
        proptest::collection::vec(any::<u16>(), 1..12).prop_map(|masks| {
            let needs =
                |(i, mask): (usize, &u16)| (0..i).filter(|j| mask & (1 << j) != 0).map(|j| format!("R{j}")).collect();
            masks.iter().enumerate().map(needs).collect()
        })
    }

    fn bit(name: &str, mask: u16) -> bool {
        mask & (1 << name[1..].parse::<u32>().unwrap()) != 0
    }

    proptest! {
        /// Some resources are there and some are not; some fail. Every one comes after what it needs, and
        /// the end is told once.
        #[test]
        fn goes_forwards_in_order(graph in graphs(), fails in any::<u16>(), there in any::<u16>(), slow in any::<u16>()) {
            let node = |(i, needs): (usize, &BTreeSet<String>)| {
                let logical_id = format!("R{i}");
                let stage = if bit(&logical_id, there) { Stage::Unseen } else { Stage::Absent };
                Node { logical_id, needs: needs.clone(), stage }
            };
            let wanted = graph.iter().enumerate().map(node).collect();
            let mut view = View { status: StackStatus::UpdateInProgress, wanted, doomed: Vec::new() };
            let mut begun = HashSet::new();
            for _ in 0..100 {
                let steps = plan(&view);
                prop_assert!(!steps.is_empty());
                let done: BTreeSet<String> =
                    view.wanted.iter().filter(|n| n.stage == Stage::Done).map(|n| n.logical_id.clone()).collect();
                for step in steps {
                    let names = match &step {
                        Step::Fail(names) => {
                            prop_assert!(names.iter().all(|name| bit(name, fails)));
                            return Ok(());
                        }
                        Step::Complete => {
                            prop_assert_eq!(done.len(), graph.len());
                            return Ok(());
                        }
                        Step::Compare(names) => names.clone(),
                        Step::Create(name) | Step::Change(name) => {
                            prop_assert!(begun.insert(name.clone()), "{} twice", name);
                            vec![name.clone()]
                        }
                        Step::Settle(name) => vec![name.clone()],
                        Step::Delete(_) | Step::Skip(_) | Step::Gone(_) => panic!("nothing goes"),
                    };
                    for name in names {
                        let node = view.wanted.iter_mut().find(|n| n.logical_id == name).unwrap();
                        prop_assert!(node.needs.is_subset(&done));
                        node.stage = match &step {
                            Step::Compare(_) => Stage::Due,
                            Step::Settle(_) => Stage::Done,
                            _ if bit(&name, fails) => Stage::Failed,
                            _ if bit(&name, slow) => Stage::Busy,
                            _ => Stage::Done,
                        };
                    }
                }
            }
            prop_assert!(false, "no end");
        }

        /// Everything goes after what needs it, also with two physical resources of one name; what cannot be
        /// deleted keeps what it needs.
        #[test]
        fn goes_backwards_in_reverse(graph in graphs(), stuck in any::<u16>(), twice in any::<u16>(), kept in any::<u16>()) {
            let mut doomed = Vec::new();
            for (i, needs) in graph.iter().enumerate() {
                let logical_id = format!("R{i}");
                let mut one = Doomed {
                    retain: bit(&logical_id, kept),
                    target: Target::resource(&logical_id),
                    needs: needs.clone(),
                    failed: false,
                };
                doomed.push(one.clone());
                if bit(&logical_id, twice) {
                    one.target.replaced = Some("old".into());
                    doomed.push(one);
                }
            }
            let mut view = View { status: StackStatus::DeleteInProgress, wanted: Vec::new(), doomed };
            for _ in 0..100 {
                for step in plan(&view) {
                    match step {
                        Step::Delete(target) | Step::Skip(target) => {
                            let at = view.doomed.iter().position(|d| d.target == target).unwrap();
                            prop_assert!(view.doomed.iter().all(|d| !d.needs.contains(&target.logical_id)));
                            if !view.doomed[at].retain && bit(&target.logical_id, stuck) {
                                view.doomed[at].failed = true;
                            } else {
                                view.doomed.remove(at);
                            }
                        }
                        Step::Gone(names) => {
                            prop_assert_eq!(names.is_empty(), view.doomed.is_empty());
                            let failed: BTreeMap<_, _> = view.doomed.iter().map(|d| (d.target.logical_id.clone(), d.failed)).collect();
                            prop_assert!(names.iter().all(|name| failed[name]));
                            return Ok(());
                        }
                        _ => prop_assert!(false, "nothing is made"),
                    }
                }
            }
            prop_assert!(false, "no end");
        }
    }
}
