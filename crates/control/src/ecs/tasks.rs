//! Tasks: placing and creating them, the beginning of their end, and what stands behind a host port.

use super::capacity::Launch;
use super::network::{self, Network, Subnet};
use super::records::{
    Cluster, Container, HostPort, LastStatus, LaunchType, Port, Service, Stop, StopCode, Tags, TargetRef, Task,
    TaskDefinition, TaskRoleCredentials, Waiting, host_port_key,
};
use super::room::{Room, Taken};
use super::{events, providers, registries, service_options, task_role};
use crate::api::{Ctx, Result};
use crate::elbv2::targets;
use crate::store::{StoreError, Tx};
use quarry_aws::ecs::{PlacementConstraint, PlacementStrategy, TaskOverride};
use quarry_domain::address;
use quarry_domain::container::{self, PortWanted};
use quarry_domain::placement::{Constraint, Demand, Instance, NoPlace, Strategy, next_provider, place};
use quarry_domain::snapshot::Endpoint;
use quarry_domain::task::ContainerHealth;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

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
    pub launch: &'a Launch,
    /// ARN of the only container instance that it may be placed on.
    pub on: Option<&'a str>,
    pub strategies: &'a [Strategy],
    pub constraints: &'a [Constraint],
    /// The same as they were asked for, to be kept by a task that waits for room.
    pub asked: (&'a [PlacementStrategy], &'a [PlacementConstraint]),
    pub tags: Tags,
    /// `enableExecuteCommand`
    pub exec: bool,
}

/// Where a task is put.
struct Spot {
    /// Into [`Room`]'s instances; none with launch type FARGATE.
    instance: Option<usize>,
    zone: String,
    subnet: Option<Subnet>,
}

/// Places a task and stores it as PENDING. One that fits nowhere is stored as PROVISIONING where its
/// capacity provider's group grows; `Ok(Err(_))` elsewhere.
pub fn create(ctx: &mut Ctx<'_>, new: &NewTask<'_>, room: &mut Room) -> Result<Result<Task, NoPlace>> {
    let demand = container::demands(&new.definition.definition, &new.overrides).demand;
    let provider = next_provider(&new.launch.shares(), room.providers()).map(str::to_owned);
    let spot = match find_spot(ctx, new, &demand, room, provider.as_deref()) {
        Ok(spot) => Some(spot),
        Err(no_place) => match &provider {
            Some(provider) if providers::grows(ctx.tx, provider)? => None,
            _ => return Ok(Err(no_place)),
        },
    };
    let fargate = new.launch.launch_type == LaunchType::Fargate;
    let id = ctx.platform.door.hex(32);
    let arn = ctx.platform.place().arn("ecs", format_args!("task/{}/{id}", new.cluster.name));
    task_role::check(ctx, new.definition, &new.overrides, &arn)?;
    let credentials_id = match task_role::of(new.definition, &new.overrides) {
        None => None,
        Some(role_arn) => {
            let given =
                TaskRoleCredentials { id: ctx.platform.door.uuid(), task: id.clone(), role_arn, access_key_id: None };
            ctx.tx.put(&given)?;
            Some(given.id)
        }
    };
    let mut task = Task {
        arn,
        id,
        credentials_id,
        registry: None,
        cluster_arn: new.cluster.arn.clone(),
        task_definition_arn: new.definition.arn.clone(),
        group: new.group.clone(),
        started_by: new.started_by.clone(),
        service: new.service.map(|(service, deployment)| (service.arn.clone(), deployment.to_owned())),
        launch_type: new.launch.launch_type,
        capacity_provider: provider,
        ephemeral_storage: fargate.then(|| ephemeral_storage(new)),
        waiting: None,
        container_instance_arn: None,
        ec2_instance_id: None,
        availability_zone: String::new(),
        status: LastStatus::Provisioning,
        wanted: true,
        overrides: new.overrides.clone(),
        address: None,
        private_address: None,
        interface: None,
        exec: new.exec,
        entry: None,
        containers: containers(ctx, new),
        targets: Vec::new(),
        demand,
        ports: Vec::new(),
        registered: false,
        stop: None,
        protected_until_ms: None,
        came_up: false,
        order: ctx.tx.next("ecs.task")?,
        version: 1,
        created_ms: ctx.platform.now_ms(),
        pull_started_ms: None,
        pull_stopped_ms: None,
        started_ms: None,
        stopping_ms: None,
        terminated_ms: None,
        execution_stopped_ms: None,
        stopped_ms: None,
        tags: new.tags.clone(),
    };
    match spot {
        Some(spot) => settle(ctx, new, room, spot, &mut task)?,
        None => {
            let (strategies, constraints) = new.asked;
            task.waiting = Some(Waiting {
                launch: new.launch.clone(),
                strategies: strategies.to_vec(),
                constraints: constraints.to_vec(),
            });
        }
    }
    room.count(&task);
    ctx.tx.put(&task)?;
    Ok(Ok(task))
}

/// Places the tasks of a cluster that wait for room, the oldest first. Whether one found it.
pub fn place_waiting(ctx: &mut Ctx<'_>, cluster: &Cluster) -> Result<bool> {
    let mut placed = false;
    let all = ctx.tx.children_of::<Task>(&cluster.arn)?;
    let waits = |task: &&Arc<Task>| task.wanted && task.status == LastStatus::Provisioning;
    let mut waiting: Vec<Task> = all.iter().filter(waits).map(|task| Task::clone(task)).collect();
    waiting.sort_by_key(|task| task.order);
    for mut task in waiting {
        let Some(asked) = task.waiting.clone() else { continue };
        let Some(definition) = ctx.tx.get::<TaskDefinition>(&task.task_definition_arn)? else { continue };
        let service: Option<Service> = match &task.service {
            Some((arn, _)) => ctx.tx.get(arn)?,
            None => None,
        };
        let strategies = service_options::strategies(Some(&asked.strategies))?;
        let constraints = service_options::constraints(Some(&asked.constraints), &definition.definition)?;
        let of = task.service.clone().map(|(_, deployment)| deployment).unwrap_or_default();
        let new = NewTask {
            cluster,
            definition: &definition,
            overrides: task.overrides.clone(),
            group: task.group.clone(),
            started_by: task.started_by.clone(),
            service: service.as_ref().map(|service| (service, of.as_str())),
            launch: &asked.launch,
            on: None,
            strategies: &strategies,
            constraints: &constraints,
            asked: (&asked.strategies, &asked.constraints),
            tags: task.tags.clone(),
            exec: task.exec,
        };
        let mut room = Room::of(ctx.tx, &cluster.arn, &task.group, true)?;
        let Ok(spot) = find_spot(ctx, &new, &task.demand, &room, task.capacity_provider.as_deref()) else { continue };
        settle(ctx, &new, &mut room, spot, &mut task)?;
        task.version += 1;
        ctx.tx.put(&task)?;
        placed = true;
    }
    Ok(placed)
}

/// Gives a task its place: instance, addresses, interface, ports, targets. It is PENDING then.
fn settle(ctx: &mut Ctx<'_>, new: &NewTask<'_>, room: &mut Room, spot: Spot, task: &mut Task) -> Result<()> {
    let demands = container::demands(&new.definition.definition, &new.overrides);
    let mut demand = demands.demand;
    let instance = spot.instance.map(|index| &room.instances[index]);
    let ec2_instance_id = instance.map(|instance| instance.ec2_instance_id.clone());
    let container_instance_arn = instance.map(|instance| instance.arn.clone());
    let id = task.id.clone();
    let (address, private_address) = match container::network_mode(&new.definition.definition) {
        "none" => (None, None),
        _ => addresses(ctx)?,
    };
    let interface = match (&new.launch.network, &spot.subnet, private_address) {
        (Some(network), Some(subnet), Some(address)) => {
            Some(network::attach(ctx, network, subnet, address, ec2_instance_id.clone())?)
        }
        _ => None,
    };
    let mut ports = Vec::new();
    for wanted in demands.ports {
        let host_port = match (&interface, &ec2_instance_id) {
            (None, Some(instance)) => hold_port(ctx, instance, &id, &wanted)?,
            // At an address of its own.
            _ => wanted.container_port,
        };
        ports.push(Port { container: wanted.container, container_port: wanted.container_port, host_port });
    }
    if interface.is_none() {
        demand.ports = ports.iter().map(|port| port.host_port).collect();
    }
    let target_id = match (&interface, private_address) {
        (Some(_), Some(address)) => address.to_string(),
        _ => ec2_instance_id.clone().unwrap_or_default(),
    };
    let balancers = new.service.into_iter().flat_map(|(service, of)| {
        service.load_balancers().iter().map(move |balancer| (balancer, service.target_group(balancer, of)))
    });
    let targets = balancers.filter_map(|(balancer, group)| {
        let container = balancer.container_name.as_deref()?;
        let port = ports.iter().find(|port| {
            port.container == container && Some(i32::from(port.container_port)) == balancer.container_port
        })?;
        Some(TargetRef {
            group_arn: group?.to_owned(),
            container: container.to_owned(),
            id: target_id.clone(),
            port: port.host_port,
        })
    });
    task.registry = new.service.and_then(|(service, _)| registries::of_task(service, &ports));
    task.targets = targets.collect();
    task.container_instance_arn = container_instance_arn;
    task.ec2_instance_id = ec2_instance_id;
    task.availability_zone = spot.zone;
    (task.address, task.private_address, task.interface) = (address, private_address, interface);
    (task.demand, task.ports, task.waiting) = (demand, ports, None);
    task.status = LastStatus::Pending;
    match spot.instance {
        Some(index) => {
            room.left[index].take(&task.demand);
            Arc::make_mut(&mut room.left[index].about.groups).insert(task.group.clone());
        }
        None => room.fargate += u64::from(task.demand.memory),
    }
    Ok(())
}

fn find_spot(
    ctx: &Ctx<'_>,
    new: &NewTask<'_>,
    demand: &Demand,
    room: &Room,
    provider: Option<&str>,
) -> Result<Spot, NoPlace> {
    let network = new.launch.network.as_ref();
    if new.launch.launch_type == LaunchType::Fargate {
        let machine = ctx.platform.config.machine;
        if demand.cpu > machine.cpu || u64::from(demand.memory) > u64::from(machine.memory).saturating_sub(room.fargate)
        {
            return Err(NoPlace::NoCapacity);
        }
        let subnet = network.and_then(|network| room.subnet(network, None)).cloned();
        let zone = subnet.as_ref().map(|subnet| subnet.zone.clone()).unwrap_or_default();
        return Ok(Spot { instance: None, zone, subnet });
    }
    let mut random = [0; 8];
    ctx.platform.door.entropy.fill(&mut random);
    let mut constraints = new.constraints.to_vec();
    constraints.extend(network.and_then(in_zones));
    // With a capacity provider only its own instances count.
    let may = |index: &usize| {
        let instance = &room.instances[*index];
        (provider.is_none() || instance.capacity_provider.as_deref() == provider)
            && new.on.is_none_or(|arn| instance.arn == arn)
    };
    let eligible: Vec<usize> = (0..room.instances.len()).filter(may).collect();
    let left: Vec<Instance> = eligible.iter().map(|index| room.left[*index].clone()).collect();
    let index = eligible[place(&left, demand, new.strategies, &constraints, u64::from_le_bytes(random))?];
    let zone = room.instances[index].attributes.get("ecs.availability-zone").cloned().unwrap_or_default();
    let subnet = network.and_then(|network| room.subnet(network, Some(&zone))).cloned();
    Ok(Spot { instance: Some(index), zone, subnet })
}

/// An interface is attached to an instance of its own zone.
pub fn in_zones(network: &Network) -> Option<Constraint> {
    let zones: Vec<&str> = network.subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    let expression = format!("attribute:ecs.availability-zone in [{}]", zones.join(", "));
    expression.parse().map(Constraint::MemberOf).ok()
}

fn ephemeral_storage(new: &NewTask<'_>) -> i32 {
    let own = new.definition.definition.ephemeral_storage.as_ref();
    let asked = new.overrides.ephemeral_storage.as_ref().or(own).and_then(|storage| storage.size_in_gib);
    asked.unwrap_or(container::EPHEMERAL_STORAGE)
}

/// Gives a host port of the instance to the task.
fn hold_port(ctx: &Ctx<'_>, instance: &str, task: &str, wanted: &PortWanted) -> Result<u16, StoreError> {
    let port = match wanted.host_port {
        0 => free_port(ctx.tx, instance)?,
        fixed => fixed,
    };
    ctx.tx.put(&HostPort {
        ec2_instance_id: instance.to_owned(),
        port,
        task: task.to_owned(),
        container_port: wanted.container_port,
        entry: None,
    })?;
    Ok(port)
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
            essential: container::is_essential(c),
            health: container::has_health_check(c).then_some(ContainerHealth::Unknown),
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
fn addresses(ctx: &Ctx<'_>) -> Result<(Option<Ipv4Addr>, Option<Ipv4Addr>), StoreError> {
    let first_free = |next: &dyn Fn() -> Result<Ipv4Addr, StoreError>| loop {
        let address = next()?;
        if !ctx.tx.tally(|taken: &Taken| taken.has(address))? {
            return Ok::<_, StoreError>(address);
        }
    };
    if ctx.platform.config.hub.is_none() {
        let drawn = || {
            let mut random = [0; 8];
            ctx.platform.door.entropy.fill(&mut random);
            Ok(address::private_on_loopback(u64::from_le_bytes(random)))
        };
        return Ok((None, Some(first_free(&drawn)?)));
    }
    let source = first_free(&|| Ok(address::source(ctx.tx.next("ecs.address")?)))?;
    let private = first_free(&|| Ok(address::private(ctx.tx.next("ecs.private-address")?)))?;
    Ok((Some(source), Some(private)))
}

/// Begins to stop a task: deregisters it, and stores it as DEACTIVATING until it is drained and out of
/// DNS, or as STOPPING where there is nothing to wait for. `dead`: its processes are gone already. A task that is
/// stopping already keeps its reason.
pub fn begin_stop(ctx: &mut Ctx<'_>, task: &mut Task, code: StopCode, reason: &str, dead: bool) -> Result<()> {
    let now = ctx.platform.now_ms();
    if task.stop.is_none() {
        task.stop = Some(Stop { code, reason: reason.to_owned() });
    }
    task.wanted = false;
    task.stopping_ms.get_or_insert(now);
    task.version += 1;
    // No new name leads here before the connections that are there are drained.
    let named = registries::leave(ctx, task)?;
    if task.registered {
        leave_targets(ctx, task, dead)?;
    }
    let waits = (task.registered || named) && !dead;
    task.status = if waits { LastStatus::Deactivating } else { LastStatus::Stopping };
    task.terminated_ms = (!waits).then_some(now);
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
    let held = tx.find::<HostPort>(&host_port_key(ec2_instance_id, host_port))?;
    Ok(held.and_then(|held| {
        let (task, entry) = (held.task.clone(), held.entry.clone()?);
        Some(Endpoint::Task { task, entry, container_port: held.container_port })
    }))
}

/// The VPC that a task is in: its network interface's, or else its container instance's. `vpcs`: of
/// [`Known`](crate::ec2::security::Known).
pub fn vpc<'a>(task: &Task, vpcs: &'a HashMap<String, String>) -> Option<&'a String> {
    let interface = task.interface.as_ref().map(|interface| &interface.subnet);
    vpcs.get(interface.or(task.ec2_instance_id.as_ref())?)
}
