//! What this machine has to give to tasks that are placed without a container instance.

use std::fs;

/// CPU and memory of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPU units: 1024 for each processor.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
}

impl Machine {
    /// This one. Where the memory cannot be told, it is taken to be without a bound.
    pub fn here() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: u32::try_from(processors * 1024).unwrap_or(u32::MAX),
            memory: total_mib(&meminfo).unwrap_or(u32::MAX),
        }
    }
}

fn total_mib(meminfo: &str) -> Option<u32> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1024).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(total_mib("MemFree: 1 kB\nMemTotal:       24612345 kB\n"), Some(24_035));
        assert_eq!(total_mib("nothing"), None);
        let here = Machine::here();
        assert!(here.cpu >= 1024 && here.memory > 64);
    }
}
