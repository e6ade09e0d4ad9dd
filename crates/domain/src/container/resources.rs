//! What a task takes from a container instance.

use super::{Invalid, containers, override_of};
use crate::placement::Demand;
use quarry_aws::ecs::{ContainerDefinition, TaskDefinition, TaskOverride};

/// A port that a container wants reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortWanted {
    pub container: String,
    pub container_port: u16,
    /// 0: any free ephemeral port.
    pub host_port: u16,
}

/// Everything that is counted when a task is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demands {
    pub demand: Demand,
    pub ports: Vec<PortWanted>,
}

/// Counts a valid task definition with its overrides: the task's own size where it has one, and
/// otherwise its containers' CPU units and reserved (or else hard-limited) memory.
pub fn demands(definition: &TaskDefinition, overrides: &TaskOverride) -> Demands {
    let (mut cpu, mut memory, mut ports) = (0, 0, Vec::new());
    for container in containers(definition) {
        let size = container_size(container, overrides);
        cpu += size.cpu;
        memory += size.reservation.or(size.memory).unwrap_or(0);
        for mapping in container.port_mappings.as_deref().unwrap_or_default() {
            ports.push(PortWanted {
                container: container.name.clone().unwrap_or_default(),
                container_port: port(mapping.container_port),
                host_port: port(mapping.host_port),
            });
        }
    }
    let (task_cpu, task_memory) = task_size(definition, overrides);
    // A task with an address of its own takes no port of its instance.
    let shared = network_mode(definition) == "bridge";
    let fixed = ports.iter().map(|p| p.host_port).filter(|&port| shared && port != 0).collect();
    Demands {
        demand: Demand { cpu: task_cpu.unwrap_or(cpu), memory: task_memory.unwrap_or(memory), ports: fixed },
        ports,
    }
}

/// A container's size, overrides applied.
pub(super) struct Size {
    pub cpu: u32,
    pub memory: Option<u32>,
    pub reservation: Option<u32>,
}

pub(super) fn container_size(container: &ContainerDefinition, overrides: &TaskOverride) -> Size {
    let over = override_of(overrides, container.name.as_deref().unwrap_or_default());
    let pick = |over: Option<i32>, own: Option<i32>| over.or(own).map(|n| n.max(0).unsigned_abs());
    Size {
        cpu: pick(over.and_then(|o| o.cpu), container.cpu).unwrap_or(0),
        memory: pick(over.and_then(|o| o.memory), container.memory),
        reservation: pick(over.and_then(|o| o.memory_reservation), container.memory_reservation),
    }
}

/// The task's own CPU units and MiB, where given. Values were checked at registration.
pub(super) fn task_size(definition: &TaskDefinition, overrides: &TaskOverride) -> (Option<u32>, Option<u32>) {
    let cpu = overrides.cpu.as_deref().or(definition.cpu.as_deref()).filter(|text| !text.is_empty());
    let memory = overrides.memory.as_deref().or(definition.memory.as_deref()).filter(|text| !text.is_empty());
    (cpu.and_then(|text| parse_cpu(text).ok()), memory.and_then(|text| parse_memory(text).ok()))
}

/// `networkMode`, `bridge` where none is named.
pub fn network_mode(definition: &TaskDefinition) -> &str {
    definition.network_mode.as_deref().filter(|mode| !mode.is_empty()).unwrap_or("bridge")
}

fn port(port: Option<i32>) -> u16 {
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

/// `256`, `.25 vCPU` or `0.25vcpu`, in CPU units.
pub(super) fn parse_cpu(text: &str) -> Result<u32, Invalid> {
    parse_size(text, "vcpu")
        .filter(|&n| n >= 1)
        .ok_or_else(|| Invalid(format!("Invalid 'cpu' setting for task: {text}")))
}

/// `512`, `0.5 GB` or `1gb`, in MiB.
pub(super) fn parse_memory(text: &str) -> Result<u32, Invalid> {
    let valid = parse_size(text, "gb").filter(|&n| n >= 4);
    valid.ok_or_else(|| Invalid(format!("Invalid 'memory' setting for task: {text}")))
}

/// A whole number, or a number of `unit`, each 1024.
fn parse_size(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => text.parse().ok(),
        Some(number) => {
            let number: f64 = number.trim().parse().ok()?;
            (number.is_finite() && (0.0..1e6).contains(&number)).then_some((number * 1024.0).round() as u32)
        }
    }
}
