//! What a pass has to look at: what was written, what is seen otherwise, what is on its way, what is due. What
//! nothing happened to costs nothing; each task and service is looked at now and then all the same.
//!
//! What is in here stays until somebody has looked at it and found nothing more to do.

use super::super::deployment_records::ServiceDeployment;
use super::super::records::{ContainerInstance, Service, Task};
use crate::elbv2::records::{Listener, Rule, RuleAction, Target};
use crate::platform::Platform;
use crate::store::feed::Feed;
use crate::store::{Item, StoreError};
use quarry_domain::task::{ObservedTask, TaskId, TaskPhase};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const KINDS: &[&str] = &[
    Task::KIND,
    Service::KIND,
    ServiceDeployment::KIND,
    ContainerInstance::KIND,
    Target::KIND,
    Listener::KIND,
    Rule::KIND,
];

/// Everything is looked at once in so many slices, one every so often.
const SLICES: usize = 12;
const SLICE_EVERY: Duration = Duration::from_secs(5);
/// So many at least.
const SLICE: usize = 50;

/// How often those are asked about of which nobody tells that they do not even start.
const ASK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Dirty {
    feed: Arc<Feed>,
    /// Tasks to look at.
    pub tasks: BTreeSet<TaskId>,
    /// What was seen last.
    pub seen: HashMap<TaskId, ObservedTask>,
    /// Nothing else is to be seen but what the runtime tells of.
    seen_all: bool,
    /// When all that start were last asked about (monotonic).
    asked: Option<Duration>,
    /// Services to look at in this round, by ARN.
    pub services: BTreeSet<String>,
    /// Services that are not as wanted: each pass looks at them.
    pub unsettled: BTreeSet<String>,
    /// Services whose tasks belong to container instances.
    pub daemons: BTreeSet<String>,
    /// When a service is to be looked at again (monotonic).
    pub due: HashMap<String, Duration>,
    /// Services by the target groups of their tasks.
    groups: HashMap<String, BTreeSet<String>>,
    /// Where listeners and rules forward to, by their ARNs.
    forwards: HashMap<String, Vec<String>>,
    /// Of the regular looks: tasks and services that are to come.
    queue: VecDeque<Slot>,
    sliced: Option<Duration>,
}

enum Slot {
    Task(TaskId),
    Service(String),
}

impl Dirty {
    pub fn new(platform: &Platform) -> Self {
        Self {
            feed: platform.store.follow(KINDS),
            tasks: BTreeSet::new(),
            seen: HashMap::new(),
            seen_all: false,
            asked: None,
            services: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            daemons: BTreeSet::new(),
            due: HashMap::new(),
            groups: HashMap::new(),
            forwards: HashMap::new(),
            queue: VecDeque::new(),
            sliced: None,
        }
    }

    /// At the beginning of a pass: what is due or not as wanted. The first looks at everything.
    pub fn begin(&mut self, platform: &Platform, now: Duration) -> Result<(), StoreError> {
        self.services.extend(self.unsettled.iter().cloned());
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(arn, _)| arn.clone());
        self.services.extend(due);
        if self.sliced.is_some_and(|at| now < at + SLICE_EVERY) {
            return Ok(());
        }
        if self.sliced.is_none() {
            let (listeners, rules) =
                platform.store.read(|tx| Ok::<_, StoreError>((tx.shared::<Listener>()?, tx.shared::<Rule>()?)))?;
            let actions = listeners.iter().map(|listener| (&listener.arn, &listener.default_action));
            for (arn, action) in actions.chain(rules.iter().map(|rule| (&rule.arn, &rule.action))) {
                self.forwards.insert(arn.clone(), action.target_groups().map(str::to_owned).collect());
            }
        }
        if self.queue.is_empty() {
            let (tasks, services) =
                platform.store.read(|tx| Ok::<_, StoreError>((tx.shared::<Task>()?, tx.shared::<Service>()?)))?;
            self.queue.extend(services.iter().map(|service| Slot::Service(service.arn.clone())));
            self.queue.extend(tasks.iter().map(|task| Slot::Task(task.id.clone())));
        }
        let first = self.sliced.is_none();
        let slice = if first { self.queue.len() } else { (self.queue.len() / SLICES).max(SLICE).min(self.queue.len()) };
        for slot in self.queue.drain(..slice) {
            match slot {
                Slot::Task(id) => drop(self.tasks.insert(id)),
                Slot::Service(arn) => drop(self.services.insert(arn)),
            }
        }
        (self.sliced, self.seen_all) = (Some(now), false);
        Ok(())
    }

    /// Takes in what was written and what the proxies reported since.
    pub fn collect(&mut self, platform: &Platform) -> Result<(), StoreError> {
        let (mut clusters, mut groups, mut routes, mut daemons) = (HashSet::new(), HashSet::new(), Vec::new(), false);
        for change in self.feed.take() {
            match change.kind {
                Task::KIND => {
                    self.tasks.insert(change.key);
                    if !change.owner.is_empty() {
                        self.services.insert(change.owner);
                    }
                    daemons = true;
                }
                Service::KIND => {
                    self.services.insert(change.key);
                    daemons = true;
                }
                ServiceDeployment::KIND => drop(self.services.insert(change.parent)),
                ContainerInstance::KIND => drop(clusters.insert(change.parent)),
                Target::KIND => drop(groups.insert(change.parent)),
                kind => routes.push((kind, change.key)),
            }
        }
        groups.extend(std::mem::take(&mut platform.live().news));
        if !routes.is_empty() {
            platform.store.read(|tx| {
                for (kind, key) in routes {
                    let action = match kind {
                        Rule::KIND => tx.find::<Rule>(&key)?.map(|rule| rule.action.clone()),
                        _ => tx.find::<Listener>(&key)?.map(|listener| listener.default_action.clone()),
                    };
                    let now: Vec<String> =
                        action.iter().flat_map(RuleAction::target_groups).map(str::to_owned).collect();
                    groups.extend(now.iter().cloned());
                    groups.extend(self.forwards.remove(&key).into_iter().flatten());
                    if !now.is_empty() {
                        self.forwards.insert(key, now);
                    }
                }
                Ok::<_, StoreError>(())
            })?;
        }
        for group in groups {
            self.services.extend(self.groups.get(&group).into_iter().flatten().cloned());
        }
        for cluster in clusters {
            let services = platform.store.read(|tx| tx.children_of::<Service>(&cluster))?;
            self.services.extend(services.iter().map(|service| service.arn.clone()));
        }
        if daemons {
            self.services.extend(self.daemons.iter().cloned());
        }
        Ok(())
    }

    /// Looks at the tasks that run: what is seen otherwise than before is to be looked at.
    pub fn observe(&mut self, platform: &Platform) -> std::io::Result<()> {
        let changed = platform.runtime.changed();
        self.seen_all &= changed.is_some();
        if !self.seen_all {
            let all = platform.runtime.observe()?;
            let all: HashMap<TaskId, ObservedTask> = all.into_iter().map(|task| (task.id.clone(), task)).collect();
            let differs = |(id, task): &(&TaskId, &ObservedTask)| self.seen.get(*id) != Some(task);
            self.tasks.extend(all.iter().filter(differs).map(|(id, _)| id.clone()));
            self.tasks.extend(self.seen.keys().filter(|id| !all.contains_key(*id)).cloned());
            (self.seen, self.seen_all) = (all, true);
            return Ok(());
        }
        let mut changed = changed.unwrap_or_default();
        // Of one that does not even start nobody tells.
        let now = platform.door.clock.monotonic();
        if self.asked.is_none_or(|at| now >= at + ASK_EVERY) {
            self.asked = Some(now);
            changed.extend(self.tasks.iter().filter(|id| self.starts(id)).cloned());
        }
        for id in changed {
            match platform.runtime.observe_one(&id) {
                Some(task) => drop(self.seen.insert(id.clone(), task)),
                None => drop(self.seen.remove(&id)),
            }
            self.tasks.insert(id);
        }
        Ok(())
    }

    fn starts(&self, id: &str) -> bool {
        self.seen.get(id).is_some_and(|task| task.phase == TaskPhase::Starting)
    }

    /// The target groups through which a service's tasks are judged.
    pub fn judged_by<'a>(&mut self, service: &str, groups: impl Iterator<Item = &'a str>) {
        for group in groups {
            match self.groups.get_mut(group) {
                Some(services) if services.contains(service) => {}
                Some(services) => drop(services.insert(service.to_owned())),
                None => drop(self.groups.insert(group.to_owned(), BTreeSet::from([service.to_owned()]))),
            }
        }
    }

    /// The service is gone.
    pub fn forget(&mut self, service: &str) {
        self.unsettled.remove(service);
        self.daemons.remove(service);
        self.due.remove(service);
        for services in self.groups.values_mut() {
            services.remove(service);
        }
        self.groups.retain(|_, services| !services.is_empty());
    }
}
