//! What to do next about a stack, purely.

use super::records::{ResourceStatus, StackStatus};
use std::collections::BTreeSet;

/// A stack as the planner sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub status: StackStatus,
    pub resources: Vec<Node>,
}

/// A resource that the stack has or is to have.
#[derive(Clone, Debug)]
pub struct Node {
    pub logical_id: String,
    /// Those it is made after. What is not among the stack's resources is not waited for.
    pub needs: BTreeSet<String>,
    /// `None` before its creation starts.
    pub status: Option<ResourceStatus>,
    /// Whether there is anything to delete.
    pub made: bool,
    /// Deletion leaves it.
    pub retain: bool,
}

/// One thing to do, in a transaction of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Create(String),
    /// Look whether it is ready.
    Settle(String),
    Delete(String),
    /// Leave it where it is and forget it.
    Skip(String),
    /// All resources are there.
    Complete,
    /// Those named could not be made.
    Fail(Vec<String>),
    /// Nothing is left that could be deleted; those named could not.
    Gone(Vec<String>),
}

/// All that can be done now. Empty: nothing, or it is over.
pub fn plan(view: &View) -> Vec<Step> {
    match view.status {
        StackStatus::CreateInProgress => creation(view),
        StackStatus::RollbackInProgress | StackStatus::DeleteInProgress => deletion(view),
        StackStatus::ReviewInProgress
        | StackStatus::CreateComplete
        | StackStatus::CreateFailed
        | StackStatus::RollbackComplete
        | StackStatus::RollbackFailed
        | StackStatus::DeleteComplete
        | StackStatus::DeleteFailed => Vec::new(),
    }
}

fn creation(view: &View) -> Vec<Step> {
    use ResourceStatus::{CreateComplete, CreateFailed, CreateInProgress};
    let with = |status: ResourceStatus| {
        view.resources.iter().filter(move |r| r.status == Some(status)).map(|r| r.logical_id.clone())
    };
    let failed: Vec<String> = with(CreateFailed).collect();
    if !failed.is_empty() {
        return vec![Step::Fail(failed)];
    }
    if view.resources.iter().all(|r| r.status == Some(CreateComplete)) {
        return vec![Step::Complete];
    }
    let missing: BTreeSet<&str> =
        view.resources.iter().filter(|r| r.status != Some(CreateComplete)).map(|r| r.logical_id.as_str()).collect();
    let ready = view
        .resources
        .iter()
        .filter(|r| r.status.is_none() && r.needs.iter().all(|need| !missing.contains(need.as_str())));
    let create = ready.map(|r| Step::Create(r.logical_id.clone()));
    create.chain(with(CreateInProgress).map(Step::Settle)).collect()
}

fn deletion(view: &View) -> Vec<Step> {
    let left: Vec<&Node> = view.resources.iter().filter(|r| is_left(r)).collect();
    let failed = |r: &Node| r.status == Some(ResourceStatus::DeleteFailed);
    let free = |r: &&Node| !left.iter().any(|other| other.needs.contains(&r.logical_id) && !std::ptr::eq(*other, *r));
    let steps: Vec<Step> = left
        .iter()
        .copied()
        .filter(|r| !failed(r))
        .filter(free)
        .map(|r| if r.retain { Step::Skip(r.logical_id.clone()) } else { Step::Delete(r.logical_id.clone()) })
        .collect();
    if !steps.is_empty() {
        return steps;
    }
    vec![Step::Gone(left.iter().copied().filter(|r| failed(r)).map(|r| r.logical_id.clone()).collect())]
}

fn is_left(node: &Node) -> bool {
    match node.status {
        None | Some(ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped) => false,
        Some(
            ResourceStatus::CreateInProgress
            | ResourceStatus::CreateComplete
            | ResourceStatus::CreateFailed
            | ResourceStatus::DeleteInProgress
            | ResourceStatus::DeleteFailed,
        ) => node.made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(logical_id: String, needs: BTreeSet<String>) -> Node {
        Node { logical_id, needs, status: None, made: false, retain: false }
    }

    fn find<'a>(view: &'a mut View, name: &str) -> &'a mut Node {
        view.resources.iter_mut().find(|r| r.logical_id == name).unwrap()
    }

    /// Any graph without cycles: each resource needs some of those before it.
    fn graphs() -> impl Strategy<Value = Vec<BTreeSet<String>>> {
        proptest::collection::vec(any::<u16>(), 1..12).prop_map(|masks| {
            let needs =
                |(i, mask): (usize, &u16)| (0..i).filter(|j| mask & (1 << j) != 0).map(|j| format!("R{j}")).collect();
            masks.iter().enumerate().map(needs).collect()
        })
    }

    proptest! {
        #[test]
        fn creates_in_order_and_deletes_in_reverse(graph in graphs(), fails in any::<u16>(), stuck in any::<u16>()) {
            let resources = graph.iter().enumerate().map(|(i, needs)| node(format!("R{i}"), needs.clone())).collect();
            let mut view = View { status: StackStatus::CreateInProgress, resources };
            let bit = |name: &str, mask: u16| mask & (1 << name[1..].parse::<u32>().unwrap()) != 0;
            for _ in 0..100 {
                let steps = plan(&view);
                if steps.is_empty() {
                    break;
                }
                for step in steps {
                    match step {
                        Step::Create(name) => {
                            let needs = find(&mut view, &name).needs.clone();
                            for need in &needs {
                                prop_assert_eq!(find(&mut view, need).status, Some(ResourceStatus::CreateComplete));
                            }
                            let node = find(&mut view, &name);
                            prop_assert_eq!(node.status, None);
                            node.made = !bit(&name, fails);
                            node.status = Some(if node.made { ResourceStatus::CreateInProgress } else { ResourceStatus::CreateFailed });
                        }
                        Step::Settle(name) => find(&mut view, &name).status = Some(ResourceStatus::CreateComplete),
                        Step::Fail(names) => {
                            prop_assert!(names.iter().all(|name| bit(name, fails)));
                            view.status = StackStatus::RollbackInProgress;
                        }
                        Step::Complete => {
                            prop_assert!(view.resources.iter().all(|r| r.status == Some(ResourceStatus::CreateComplete)));
                            view.status = StackStatus::DeleteInProgress;
                        }
                        Step::Delete(name) => {
                            let dependants: Vec<_> = view.resources.iter().filter(|r| r.made && r.needs.contains(&name)).collect();
                            prop_assert!(dependants.is_empty(), "{:?}", dependants);
                            let node = find(&mut view, &name);
                            prop_assert!(node.made);
                            node.made = bit(&name, stuck);
                            node.status = Some(if node.made { ResourceStatus::DeleteFailed } else { ResourceStatus::DeleteComplete });
                        }
                        Step::Skip(_) => prop_assert!(false, "nothing is retained"),
                        Step::Gone(names) => {
                            let left = view.resources.iter().filter(|r| r.made).count();
                            prop_assert_eq!(names.is_empty(), left == 0);
                            view.status = StackStatus::DeleteComplete;
                        }
                    }
                }
            }
            prop_assert_eq!(view.status, StackStatus::DeleteComplete);
        }
    }
}
