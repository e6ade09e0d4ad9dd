//! What a container uses, in detail: from its control group where it has one, else from its processes.

use crate::cgroup::Group;
use crate::usage;
use quarry_domain::task::{ContainerStats, NetworkStats};
use std::collections::BTreeMap;
use std::fs;

/// Of the container whose first process is `pid`.
/// `network`: it has one of its own.
pub fn of(name: &str, group: Option<&Group>, pid: u32, network: bool) -> Option<ContainerStats> {
    let groups: Vec<Group> = group.into_iter().cloned().collect();
    let usage = usage::of(&groups, &[pid])?;
    let machine = machine_memory();
    let mut stats = ContainerStats {
        name: name.to_owned(),
        cpu_ns: usage.cpu_ns,
        machine_cpu_ns: fs::read_to_string("/proc/stat").map_or(0, |stat| machine_cpu(&stat)),
        processors: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory: usage.memory_bytes,
        memory_limit: machine,
        networks: match fs::read_to_string(format!("/proc/{pid}/net/dev")) {
            Ok(text) if network => networks(&text),
            _ => BTreeMap::new(),
        },
        ..ContainerStats::default()
    };
    let Some(group) = group else { return Some(stats) };
    if let Some((user, system)) = group.cpu_modes() {
        (stats.cpu_user_ns, stats.cpu_system_ns) = (Some(user), Some(system));
    }
    stats.throttling = group.throttling().unwrap_or_default();
    if let Some(memory) = group.memory() {
        (stats.memory, stats.memory_peak, stats.memory_details) = (memory.current, memory.peak, memory.details);
        stats.memory_limit = memory.limit.min(machine);
    }
    if let Some((now, most)) = group.processes() {
        (stats.processes, stats.processes_limit) = (Some(now), most);
    }
    Some(stats)
}

/// All of the machine's processor time, in nanoseconds: user, nice, system, idle, iowait, irq, softirq.
fn machine_cpu(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: u64 = line.split_whitespace().take(7).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks * (1_000_000_000 / usage::TICKS)
}

fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The counters of `/proc/<pid>/net/dev`, without the loopback's.
fn networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let n: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let of = |index: usize| n.get(index).copied().unwrap_or(0);
        let stats = NetworkStats {
            rx_bytes: of(0),
            rx_packets: of(1),
            rx_errors: of(2),
            rx_dropped: of(3),
            tx_bytes: of(8),
            tx_packets: of(9),
            tx_errors: of(10),
            tx_dropped: of(11),
        };
        Some((name.trim().to_owned(), stats)).filter(|(name, _)| name != "lo")
    };
    text.lines().skip(2).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(machine_cpu("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1\n"), 280_000_000);
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                    eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n";
        let found = networks(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found["eth0"].rx_bytes, found["eth0"].tx_bytes, found["eth0"].tx_dropped), (100, 500, 8));
        let own = of("own", None, std::process::id(), false).unwrap();
        assert!(own.memory > 100_000 && own.memory_limit > own.memory && own.machine_cpu_ns > own.cpu_ns, "{own:?}");
    }
}
