//! Whether anything was written that a snapshot is made of: most of what is written is not.

use crate::ecs::records::Task;
use crate::platform::Platform;
use crate::store::feed::Feed;
use crate::store::{Item, StoreError};
use quarry_domain::task::{TaskEntry, TaskId};
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Records of these kinds are in no snapshot. Any other may be.
const ELSEWHERE: [&str; 24] = [
    "application-autoscaling.policy",
    "application-autoscaling.target",
    "autoscaling.activity",
    "cloudformation.change-set",
    "cloudformation.event",
    "cloudformation.export",
    "cloudformation.resource",
    "cloudformation.stack",
    "cloudformation.work",
    "cloudwatch.alarm",
    "cloudwatch.history",
    "cut.entry",
    "ecs.cluster",
    "ecs.run-token",
    "ecs.service",
    "ecs.service-deployment",
    "ecs.service-events",
    "ecs.service-revision",
    "ecs.stopped-task",
    "ecs.task-definition",
    "ecs.task-role-credentials",
    "logs.follower",
    "logs.group",
    "logs.stream",
];

/// Looks at what is written.
pub struct News {
    feed: Arc<Feed>,
    /// What a snapshot has of each task.
    tasks: HashMap<TaskId, OfTask>,
    begun: bool,
}

/// What [`Endpoints`](super::snapshot::Endpoints) are made of.
#[derive(PartialEq)]
struct OfTask {
    address: Option<Ipv4Addr>,
    private_address: Option<Ipv4Addr>,
    entry: Option<TaskEntry>,
    /// Of its network interface and its container instance.
    place: (Option<String>, Option<String>),
}

impl News {
    pub fn new(platform: &Platform) -> Self {
        Self { feed: platform.store.follow(&[]), tasks: HashMap::new(), begun: false }
    }

    /// Whether a snapshot made now may differ from one made at the last call.
    pub fn any(&mut self, platform: &Platform) -> Result<bool, StoreError> {
        let changes = self.feed.take();
        let mut any = !std::mem::replace(&mut self.begun, true);
        let mut tasks = BTreeSet::new();
        for change in changes {
            match change.kind {
                Task::KIND => drop(tasks.insert(change.key)),
                kind => any |= !ELSEWHERE.contains(&kind),
            }
        }
        platform.store.read(|tx| {
            for id in tasks {
                any |= match tx.find::<Task>(&id)? {
                    None => self.tasks.remove(&id).is_some(),
                    Some(task) => {
                        let now = OfTask::of(&task);
                        let same = self.tasks.get(&id) == Some(&now);
                        self.tasks.insert(id, now);
                        !same
                    }
                };
            }
            Ok(any)
        })
    }

    /// What was taken was not published after all.
    pub fn again(&mut self) {
        self.begun = false;
    }
}

impl OfTask {
    /// A task's cluster, group and ports do not change while it has its addresses.
    fn of(task: &Task) -> Self {
        Self {
            address: task.address,
            private_address: task.private_address,
            entry: task.entry.clone(),
            place: (task.interface.as_ref().map(|interface| interface.id.clone()), task.ec2_instance_id.clone()),
        }
    }
}
