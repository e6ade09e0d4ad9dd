//! Tasks: placing and creating them, the beginning of their end, and what stands behind a host port.

use super::records::{
    Cluster, Container, ContainerInstance, HostPort, LastStatus, Port, Service, Stop, StopCode, Tags, TargetRef, Task,
    TaskDefinition, host_port_key,
};
use super::{container_instances, events};
use crate::api::{Ctx, Result};
use crate::elbv2::targets;
use crate::link::snapshot::{Behind, Endpoints};
use crate::store::{StoreError, Tx};
use quarry_aws::ecs::TaskOverride;
use quarry_domain::address;
use quarry_domain::container;
use quarry_domain::placement::{Constraint, Instance, NoPlace, Strategy, place};
use quarry_domain::snapshot::Endpoint;
use quarry_domain::task::TaskEntry;
use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

/// Host ports given where none is named: the kernel's default ephemeral range.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What a new task is made of.
pub struct NewTask<'a> {
    pub cluster: &'a Cluster,
    pub definition: &'a TaskDefinition,
    pub overrides: TaskOverride,
    pub group: String,
    pub started_by: Option<String>,
    /// The service and its deployment's id.
    pub service: Option<(&'a Service, &'a str)>,
    pub strategies: &'a [Strategy],
    pub constraints: &'a [Constraint],
    pub tags: Tags,
}

/// The instances of a cluster that take new tasks, with what is left on each. Kept while several
/// tasks are placed in one transaction.
pub struct Room {
    instances: Vec<ContainerInstance>,
    left: Vec<Instance>,
    addresses: HashSet<Ipv4Addr>,
}

impl Room {
    pub fn of(tx: &Tx<'_>, cluster_arn: &str, group: &str) -> Result<Self, StoreError> {
        let mut instances: Vec<ContainerInstance> = tx.children(cluster_arn)?;
        instances.retain(|instance| !instance.draining);
        let tasks: Vec<Task> = tx.children(cluster_arn)?;
        let left = instances.iter().map(|i| container_instances::remaining(i, &tasks, Some(group))).collect();
        let all = tx.all::<Task>()?;
        let addresses = all.iter().flat_map(|task| [task.address, task.private_address]).flatten().collect();
        Ok(Self { instances, left, addresses })
    }

    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

/// Places a task and stores it as PENDING. `Ok(Err(_))` if it fits nowhere.
pub fn create(ctx: &Ctx<'_>, new: &NewTask<'_>, room: &mut Room) -> Result<Result<Task, NoPlace>, StoreError> {
    let demands = container::demands(&new.definition.definition, &new.overrides);
    let mut random = [0; 8];
    ctx.platform.door.entropy.fill(&mut random);
    let index = match place(&room.left, &demands.demand, new.strategies, new.constraints, u64::from_le_bytes(random)) {
        Ok(index) => index,
        Err(no_place) => return Ok(Err(no_place)),
    };
    let instance = &room.instances[index];
    let id = ctx.platform.door.hex(32);

    let mut demand = demands.demand;
    let mut ports = Vec::new();
    for wanted in demands.ports {
        let host_port = match wanted.host_port {
            0 => free_port(ctx.tx, &instance.ec2_instance_id)?,
            fixed => fixed,
        };
        ctx.tx.put(&HostPort {
            ec2_instance_id: instance.ec2_instance_id.clone(),
            port: host_port,
            task: id.clone(),
            container_port: wanted.container_port,
            entry: None,
        })?;
        ports.push(Port { container: wanted.container, container_port: wanted.container_port, host_port });
    }
    demand.ports = ports.iter().map(|port| port.host_port).collect();

    let (address, private_address) = addresses(ctx, &mut room.addresses)?;
    let load_balancers = new.service.map(|(service, _)| service.load_balancers()).unwrap_or_default();
    let targets = load_balancers.iter().filter_map(|balancer| {
        let container = balancer.container_name.as_deref()?;
        let port = ports.iter().find(|port| {
            port.container == container && Some(i32::from(port.container_port)) == balancer.container_port
        })?;
        Some(TargetRef {
            group_arn: balancer.target_group_arn.clone()?,
            container: container.to_owned(),
            id: instance.ec2_instance_id.clone(),
            port: port.host_port,
        })
    });
    let task = Task {
        arn: ctx.platform.place().arn("ecs", format_args!("task/{}/{id}", new.cluster.name)),
        cluster_arn: new.cluster.arn.clone(),
        task_definition_arn: new.definition.arn.clone(),
        group: new.group.clone(),
        started_by: new.started_by.clone(),
        service: new.service.map(|(service, deployment)| (service.arn.clone(), deployment.to_owned())),
        container_instance_arn: instance.arn.clone(),
        ec2_instance_id: instance.ec2_instance_id.clone(),
        availability_zone: instance.attributes.get("ecs.availability-zone").cloned().unwrap_or_default(),
        status: LastStatus::Pending,
        wanted: true,
        overrides: new.overrides.clone(),
        address,
        private_address: Some(private_address),
        entry: None,
        containers: containers(ctx, new),
        targets: targets.collect(),
        demand,
        ports,
        registered: false,
        stop: None,
        order: ctx.tx.next("ecs.task")?,
        version: 1,
        created_ms: ctx.platform.now_ms(),
        pull_started_ms: None,
        pull_stopped_ms: None,
        started_ms: None,
        stopping_ms: None,
        execution_stopped_ms: None,
        stopped_ms: None,
        tags: new.tags.clone(),
        id,
    };
    room.left[index].take(&task.demand);
    ctx.tx.put(&task)?;
    Ok(Ok(task))
}

fn containers(ctx: &Ctx<'_>, new: &NewTask<'_>) -> Vec<Container> {
    let overrides = new.overrides.container_overrides.as_deref().unwrap_or_default();
    let container = |c: &quarry_aws::ecs::ContainerDefinition| {
        let over = overrides.iter().find(|over| over.name == c.name);
        Container {
            name: c.name.clone().unwrap_or_default(),
            id: ctx.platform.door.uuid(),
            image: c.image.clone().unwrap_or_default(),
            image_digest: None,
            stop_signal: None,
            exit_code: None,
            reason: None,
            cpu: over.and_then(|o| o.cpu).or(c.cpu).unwrap_or(0),
            memory: over.and_then(|o| o.memory).or(c.memory),
            memory_reservation: over.and_then(|o| o.memory_reservation).or(c.memory_reservation),
        }
    };
    container::containers(&new.definition.definition).iter().map(container).collect()
}

/// An ephemeral port of the instance that no task holds. Ports are given in turn, so that one that
/// was just freed is not given again at once.
fn free_port(tx: &Tx<'_>, ec2_instance_id: &str) -> Result<u16, StoreError> {
    let count = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
    loop {
        let port = EPHEMERAL.start() + (tx.next("ecs.host-port")? % count) as u16;
        if tx.get::<HostPort>(&host_port_key(ec2_instance_id, port))?.is_none() {
            return Ok(port);
        }
    }
}

/// The address a task sends from, if there is a hub, and the private one that others reach it by. On
/// the hub both are given in turn, so that one that was just freed is not given again at once; on
/// loopback the private one is drawn, so that two installations do not give the same ones.
fn addresses(ctx: &Ctx<'_>, taken: &mut HashSet<Ipv4Addr>) -> Result<(Option<Ipv4Addr>, Ipv4Addr), StoreError> {
    let mut first_free = |next: &dyn Fn() -> Result<Ipv4Addr, StoreError>| loop {
        let address = next()?;
        if taken.insert(address) {
            return Ok::<_, StoreError>(address);
        }
    };
    if ctx.platform.config.hub.is_none() {
        let drawn = || {
            let mut random = [0; 8];
            ctx.platform.door.entropy.fill(&mut random);
            Ok(address::private_on_loopback(u64::from_le_bytes(random)))
        };
        return Ok((None, first_free(&drawn)?));
    }
    let source = first_free(&|| Ok(address::source(ctx.tx.next("ecs.address")?)))?;
    let private = first_free(&|| Ok(address::private(ctx.tx.next("ecs.private-address")?)))?;
    Ok((Some(source), private))
}

/// Begins to stop a task: deregisters it, and stores it as DEACTIVATING until it is drained, or as
/// STOPPING where there is nothing to drain. `dead`: its processes are gone already. A task that is
/// stopping already keeps its reason.
pub fn begin_stop(ctx: &mut Ctx<'_>, task: &mut Task, code: StopCode, reason: &str, dead: bool) -> Result<()> {
    let now = ctx.platform.now_ms();
    if task.stop.is_none() {
        task.stop = Some(Stop { code, reason: reason.to_owned() });
    }
    task.wanted = false;
    task.stopping_ms.get_or_insert(now);
    task.version += 1;
    if task.registered {
        leave_targets(ctx, task, dead)?;
    }
    task.status = if task.registered && !dead { LastStatus::Deactivating } else { LastStatus::Stopping };
    Ok(ctx.tx.put(task)?)
}

fn leave_targets(ctx: &mut Ctx<'_>, task: &Task, dead: bool) -> Result<()> {
    let service: Option<Service> = match &task.service {
        Some((arn, _)) => ctx.tx.get(arn)?,
        None => None,
    };
    for target in &task.targets {
        let pair = [(target.id.clone(), target.port)];
        // A target group that was deleted meanwhile holds no target any more.
        let gone = |error: &quarry_wire::ServiceError| error.code.starts_with("TargetGroupNotFound");
        let left = if dead {
            targets::deregister_dead(ctx, &target.group_arn, &pair)
        } else {
            targets::deregister(ctx, &target.group_arn, &pair)
        };
        match left {
            Err(error) if gone(&error) => continue,
            other => other?,
        }
        if let Some(service) = &service {
            events::add(ctx, service, format_args!("deregistered 1 targets in (target-group {})", target.group_arn))?;
        }
    }
    if let Some(service) = service.filter(|_| !dead && !task.targets.is_empty()) {
        events::add(ctx, &service, "has begun draining connections on 1 tasks.")?;
    }
    Ok(())
}

/// What stands behind an instance's host port. `None` where no running task holds it.
pub fn endpoint_of(tx: &Tx<'_>, ec2_instance_id: &str, host_port: u16) -> Result<Option<Endpoint>, StoreError> {
    let held: Option<HostPort> = tx.get(&host_port_key(ec2_instance_id, host_port))?;
    Ok(held.and_then(endpoint).map(|(_, endpoint)| endpoint))
}

/// What stands behind every held host port, and behind the ports of every private address.
pub fn endpoints(tx: &Tx<'_>) -> Result<Endpoints, StoreError> {
    let ports = tx.all::<HostPort>()?.into_iter().filter_map(endpoint).collect();
    let mut private = BTreeMap::new();
    for task in tx.all::<Task>()? {
        let (Some(address), Some(entry)) = (task.private_address, task.entry) else { continue };
        let ports = task.ports.iter().map(|port| (port.host_port, port.container_port)).collect();
        private.insert(address, Behind { task: task.id, entry, ports });
    }
    Ok(Endpoints { ports, private })
}

fn endpoint(held: HostPort) -> Option<((String, u16), Endpoint)> {
    let entry: TaskEntry = held.entry?;
    let endpoint = Endpoint::Task { task: held.task, entry, container_port: held.container_port };
    Some(((held.ec2_instance_id, held.port), endpoint))
}
