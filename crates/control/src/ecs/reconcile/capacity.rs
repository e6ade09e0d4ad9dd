//! Capacity providers: places what waits for them, sets the sizes of their groups, protects instances
//! that run tasks and drains those that their group ends.

use super::super::container_instances::{RESERVED_PORTS, remaining};
use super::super::records::{CapacityProvider, Cluster, ContainerInstance, LastStatus, Task};
use super::super::room::Taken;
use super::super::{providers, tasks};
use crate::api::{Ctx, Operations, Result, internally};
use crate::autoscaling;
use crate::ec2::instance::size;
use crate::platform::Platform;
use crate::wake::Woken;
use quarry_aws::autoscaling::op::{CompleteLifecycleAction, SetDesiredCapacity, SetInstanceProtection};
use quarry_aws::autoscaling::{
    AutoScalingGroup, CompleteLifecycleActionType, SetDesiredCapacityType, SetInstanceProtectionQuery,
};
use quarry_domain::placement::Instance;
use quarry_domain::placement::reservation::{Group, Scaling, next_size};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long a group must have been too large before it shrinks: the 15 minutes of ECS's alarm.
const SHRINK_AFTER: Duration = Duration::from_secs(900);
/// The timer in case a signal was missed.
const IDLE: Duration = Duration::from_secs(5);

/// Runs until the store's wake is stopped.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let mut reconciler = Capacity::new(platform.clone(), operations);
    let mut seen = platform.store.changed.level();
    loop {
        if let Err(error) = reconciler.pass() {
            tracing::error!(%error, "capacity providers could not be reconciled");
        }
        if platform.store.changed.wait(&mut seen, IDLE) == Woken::Stop {
            return;
        }
    }
}

/// Remembers only since when something holds, in monotonic time.
pub(crate) struct Capacity {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    /// By provider: since when its group is too large.
    too_large_since: HashMap<String, Duration>,
    /// By provider: when its group last grew.
    grown_at: HashMap<String, Duration>,
}

impl Capacity {
    pub fn new(platform: Arc<Platform>, operations: Arc<Operations>) -> Self {
        Self { platform, operations, too_large_since: HashMap::new(), grown_at: HashMap::new() }
    }

    /// Does everything that can be done now.
    pub fn pass(&mut self) -> Result<()> {
        let (platform, operations) = (self.platform.clone(), self.operations.clone());
        // Most installations have none: look before taking the writer.
        let all = platform.store.read(|tx| tx.all::<CapacityProvider>())?;
        if platform.store.tally(Taken::waits)? {
            internally(&platform, &operations, |ctx| {
                for cluster in ctx.tx.all::<Cluster>()?.iter().filter(|cluster| cluster.active) {
                    tasks::place_waiting(ctx, cluster)?;
                }
                Ok(())
            })?;
        }
        for provider in all {
            // One whose group is broken does not hold up the others.
            if let Err(error) = internally(&platform, &operations, |ctx| self.manage(ctx, &provider)) {
                tracing::warn!(provider = provider.name, %error, "a capacity provider could not be managed");
            }
        }
        Ok(())
    }

    fn manage(&mut self, ctx: &mut Ctx<'_>, provider: &CapacityProvider) -> Result<()> {
        let group = providers::group(ctx, &provider.group_arn)?;
        let instances = providers::instances(ctx.tx, &provider.name)?;
        let tasks = ctx.tx.shared::<Task>()?;
        drain(ctx, provider, &group, &instances, &tasks)?;
        if provider.termination_protection {
            protect(ctx, provider, &group, &instances, &tasks)?;
        }
        if provider.scales() { self.scale(ctx, provider, &group, &instances, &tasks) } else { Ok(()) }
    }

    fn scale(
        &mut self,
        ctx: &mut Ctx<'_>,
        provider: &CapacityProvider,
        group: &AutoScalingGroup,
        instances: &[ContainerInstance],
        tasks: &[Arc<Task>],
    ) -> Result<()> {
        let now = self.platform.door.clock.monotonic();
        let number = |n: Option<i32>| n.unwrap_or_default().max(0).unsigned_abs();
        let desired = number(group.desired_capacity);
        let seated: Vec<_> = instances.iter().filter(|instance| !instance.draining).collect();
        let warm_up = Duration::from_secs(number(provider.scaling.instance_warmup_period).into());
        // After a restart: as if it had grown now.
        let grown_at = *self.grown_at.entry(provider.name.clone()).or_insert(now);
        let coming = if now < grown_at + warm_up { desired.saturating_sub(seated.len() as u32) } else { 0 };
        let mut waiting: Vec<&Arc<Task>> = tasks.iter().filter(|task| is_waiting(task, &provider.name)).collect();
        waiting.sort_by_key(|task| task.order);
        let seen = Group {
            instances: seated.iter().map(|i| (remaining(i, tasks, None), runs_tasks(i, tasks))).collect(),
            coming,
            empty: empty_instance(ctx, provider)?,
            waiting: waiting.into_iter().map(|task| task.demand.clone()).collect(),
            desired,
            min: number(group.min_size),
            max: number(group.max_size),
        };
        let scaling = Scaling {
            target: number(provider.scaling.target_capacity),
            min_step: number(provider.scaling.minimum_scaling_step_size),
            max_step: number(provider.scaling.maximum_scaling_step_size),
        };
        let wanted = next_size(&seen, scaling);
        if wanted >= desired {
            self.too_large_since.remove(&provider.name);
        }
        if wanted < desired {
            let since = *self.too_large_since.entry(provider.name.clone()).or_insert(now);
            if now < since + SHRINK_AFTER {
                return Ok(());
            }
        }
        if wanted == desired {
            return Ok(());
        }
        if wanted > desired {
            self.grown_at.insert(provider.name.clone(), now);
        }
        ctx.invoke::<SetDesiredCapacity>(SetDesiredCapacityType {
            auto_scaling_group_name: Some(provider.group.clone()),
            desired_capacity: i32::try_from(wanted).ok(),
            honor_cooldown: None,
        })?;
        Ok(())
    }
}

/// Instances that their group ends take no more tasks; once they are empty they may go.
fn drain(
    ctx: &mut Ctx<'_>,
    provider: &CapacityProvider,
    group: &AutoScalingGroup,
    instances: &[ContainerInstance],
    tasks: &[Arc<Task>],
) -> Result<()> {
    let held = |state: &Option<String>| state.as_deref() == Some("Terminating:Wait");
    for member in group.instances.iter().flatten().filter(|member| held(&member.lifecycle_state)) {
        let instance = instances.iter().find(|i| Some(&i.ec2_instance_id) == member.instance_id.as_ref());
        if let Some(instance) = instance.filter(|instance| !instance.draining) {
            let draining = ContainerInstance { draining: true, version: instance.version + 1, ..instance.clone() };
            ctx.tx.put(&draining)?;
        }
        if instance.is_some_and(|instance| runs_tasks(instance, tasks)) {
            continue;
        }
        let done = ctx.invoke::<CompleteLifecycleAction>(CompleteLifecycleActionType {
            auto_scaling_group_name: Some(provider.group.clone()),
            lifecycle_hook_name: Some(providers::DRAINING_HOOK.into()),
            instance_id: member.instance_id.clone(),
            lifecycle_action_result: Some("CONTINUE".into()),
            ..Default::default()
        });
        // Another hook may be what still holds it.
        done.map(|_| ()).or_else(|e| if e.status < 500 { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

/// What runs tasks is protected from scale-in, what runs none is not.
fn protect(
    ctx: &mut Ctx<'_>,
    provider: &CapacityProvider,
    group: &AutoScalingGroup,
    instances: &[ContainerInstance],
    tasks: &[Arc<Task>],
) -> Result<()> {
    for member in group.instances.iter().flatten() {
        let instance = instances.iter().find(|i| Some(&i.ec2_instance_id) == member.instance_id.as_ref());
        let Some(instance) = instance else { continue };
        let wanted = runs_tasks(instance, tasks);
        if member.protected_from_scale_in != Some(wanted) {
            ctx.invoke::<SetInstanceProtection>(SetInstanceProtectionQuery {
                auto_scaling_group_name: Some(provider.group.clone()),
                instance_ids: member.instance_id.clone().map(|id| vec![id]),
                protected_from_scale_in: Some(wanted),
            })?;
        }
    }
    Ok(())
}

fn is_waiting(task: &Task, provider: &str) -> bool {
    task.wanted && task.status == LastStatus::Provisioning && task.capacity_provider.as_deref() == Some(provider)
}

fn runs_tasks(instance: &ContainerInstance, tasks: &[Arc<Task>]) -> bool {
    tasks.iter().any(|task| task.container_instance_arn.as_ref() == Some(&instance.arn))
}

/// An instance as the group launches them, before it has tasks.
fn empty_instance(ctx: &mut Ctx<'_>, provider: &CapacityProvider) -> Result<Instance> {
    let size = size(&autoscaling::instance_type(ctx, &provider.group)?)?;
    Ok(Instance {
        id: String::new(),
        attributes: Default::default(),
        cpu: size.cpu_units,
        memory: size.memory_mib,
        ports: Arc::new(BTreeSet::from(RESERVED_PORTS)),
        tasks_of_group: 0,
        tasks: 0,
        about: Default::default(),
    })
}
