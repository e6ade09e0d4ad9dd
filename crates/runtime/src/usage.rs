//! What a task has used: from its control group where it has one, else from its processes in /proc.

use crate::cgroup::Group;
use quarry_domain::task::Usage;
use std::fs;

/// Kernel ticks per second in /proc, the same on every Linux.
pub const TICKS: u64 = 100;
/// Processes of a task that are looked at, at most.
const PROCESSES: usize = 10_000;

/// By the containers' groups; what they cannot tell, by the containers' first processes.
pub fn of(groups: &[Group], pids: &[u32]) -> Option<Usage> {
    let by_group = |read: fn(&Group) -> Option<u64>| -> Option<u64> {
        let told: Option<Vec<u64>> = groups.iter().map(read).collect();
        told.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
    };
    let (cpu, memory) = (by_group(Group::cpu_ns), by_group(Group::memory_bytes));
    if let (Some(cpu_ns), Some(memory_bytes)) = (cpu, memory) {
        return Some(Usage { cpu_ns, memory_bytes });
    }
    let processes = by_processes(pids)?;
    Some(Usage { cpu_ns: cpu.unwrap_or(processes.cpu_ns), memory_bytes: memory.unwrap_or(processes.memory_bytes) })
}

/// The sum over the processes and all their descendants.
fn by_processes(pids: &[u32]) -> Option<Usage> {
    let mut usage = Usage::default();
    let mut waiting = pids.to_vec();
    let mut seen = 0;
    while let Some(pid) = waiting.pop() {
        let Some(cpu_ns) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| cpu_ns(&stat)) else {
            // Gone this moment.
            continue;
        };
        seen += 1;
        usage.cpu_ns += cpu_ns;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        usage.memory_bytes += resident(&status);
        if seen >= PROCESSES {
            break;
        }
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    (seen > 0).then_some(usage)
}

/// Of a process and of its children that ended, from `/proc/<pid>/stat`.
fn cpu_ns(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = crate::proc::fields(stat).collect();
    let ticks: Option<Vec<u64>> = fields.get(11..15)?.iter().map(|field| field.parse().ok()).collect();
    Some(ticks?.iter().sum::<u64>() * (1_000_000_000 / TICKS))
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let before = of(&[], &[std::process::id()]).unwrap();
        assert!(before.memory_bytes > 100_000, "{before:?}");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while of(&[], &[std::process::id()]).unwrap().cpu_ns <= before.cpu_ns {
            assert!(std::time::Instant::now() < end, "the processor time does not rise");
        }
        assert_eq!(of(&[], &[u32::MAX - 7]), None, "no such process");
    }

    #[test]
    fn a_strange_name_is_read_past() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 3 2 1 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_ns(stat), Some(60_000_000));
    }
}
