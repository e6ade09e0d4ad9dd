//! Control groups, version 1 (one directory per controller, also beside an empty version 2, the
//! "hybrid" layout) and version 2, chosen per controller by what is mounted.
//!
//! Groups are `/quarry/<data directory>/<task>/<container>`; processes live in containers' groups only.

use crate::sys::{self, Forked};
use quarry_domain::task::Limits;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processes and threads of a container unless its limits say otherwise.
pub const DEFAULT_PIDS: u32 = 4096;

/// `cpuacct` counts processor time in version 1; version 2 has it in every group.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

/// How long the kernel may take to end all that was killed in a group: a fork bomb's processes need seconds on a busy
/// machine.
const LONGEST_END: Duration = Duration::from_secs(20);

/// The hierarchies that are mounted and of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Version 1: controller → mount point. Several controllers may share one.
    v1: BTreeMap<String, PathBuf>,
    /// Version 2 with the controllers it really has.
    v2: Option<(PathBuf, Vec<String>)>,
}

/// One control group, in every hierarchy.
#[derive(Clone, Debug)]
pub struct Group {
    hierarchies: Hierarchies,
    relative: PathBuf,
}

/// What a group uses of memory, in bytes.
pub struct Memory {
    pub current: u64,
    /// The most it ever was, where the kernel keeps that.
    pub peak: Option<u64>,
    /// A very large one is none.
    pub limit: u64,
    /// As the kernel lists it.
    pub details: BTreeMap<String, u64>,
}

impl Hierarchies {
    /// Reads what is mounted.
    pub fn detect() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&mounts, |path| fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(mountinfo: &str, read: impl Fn(&Path) -> String) -> Self {
        let mut found = Self { v1: BTreeMap::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut filesystem = filesystem.split(' ');
            match filesystem.next() {
                Some("cgroup") => {
                    for option in filesystem.nth(1).unwrap_or_default().split(',') {
                        if CONTROLLERS.contains(&option) {
                            found.v1.entry(option.to_owned()).or_insert_with(|| point.clone());
                        }
                    }
                }
                Some("cgroup2") if found.v2.is_none() => {
                    let present = read(&point.join("cgroup.controllers"));
                    let controllers: Vec<String> =
                        present.split_whitespace().filter(|c| CONTROLLERS.contains(c)).map(str::to_owned).collect();
                    if !controllers.is_empty() {
                        found.v2 = Some((point, controllers));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// A sentence for the doctor.
    pub fn describe(&self) -> String {
        match (&self.v2, self.v1.is_empty()) {
            (Some((point, controllers)), true) => {
                format!("version 2 at {} with {}", point.display(), controllers.join(", "))
            }
            (_, false) => {
                format!("version 1 with {}", self.v1.keys().cloned().collect::<Vec<_>>().join(", "))
            }
            (None, true) => "no memory, cpu or pids controller is mounted".to_owned(),
        }
    }

    /// Whether `controller` (memory, cpu or pids) can be used.
    pub fn has(&self, controller: &str) -> bool {
        self.of(controller).is_some()
    }

    pub fn group(&self, relative: &Path) -> Group {
        Group { hierarchies: self.clone(), relative: relative.to_owned() }
    }

    /// Mount points, each once.
    fn roots(&self) -> Vec<&Path> {
        let mut roots: Vec<&Path> = self.v1.values().map(PathBuf::as_path).collect();
        roots.extend(self.v2.iter().map(|(point, _)| point.as_path()));
        roots.sort();
        roots.dedup();
        roots
    }

    /// Where `controller` is governed, and whether by version 2.
    fn of(&self, controller: &str) -> Option<(&Path, bool)> {
        if let Some(point) = self.v1.get(controller) {
            return Some((point, false));
        }
        match &self.v2 {
            Some((point, controllers)) if controllers.iter().any(|c| c == controller) => Some((point, true)),
            _ => None,
        }
    }
}

impl Group {
    /// Makes the group in every hierarchy and switches the controllers on along its path.
    pub fn create(&self) -> io::Result<()> {
        for root in self.hierarchies.roots() {
            let v2 = self.hierarchies.v2.as_ref().filter(|(point, _)| point == root);
            let mut directory = root.to_owned();
            for part in self.relative.components() {
                if let Some((_, controllers)) = v2 {
                    let wanted: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
                    write(&directory.join("cgroup.subtree_control"), &wanted.join(" "))?;
                }
                directory.push(part);
                make_dir(&directory, root, &self.relative)?;
            }
        }
        Ok(())
    }

    /// Puts limits in force. `None` in a field means no limit, except for processes.
    pub fn limit(&self, limits: &Limits) -> io::Result<()> {
        if let Some(mib) = limits.memory {
            let bytes = (u64::from(mib) << 20).to_string();
            self.set("memory", "memory.limit_in_bytes", "memory.max", &bytes, &bytes)?;
            // Swap would only make the end slow. Missing where swap accounting is off.
            let _ = self.set("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", &bytes, "0");
        }
        if let Some(mib) = limits.memory_reservation {
            let bytes = (u64::from(mib) << 20).to_string();
            self.set("memory", "memory.soft_limit_in_bytes", "memory.low", &bytes, &bytes)?;
        }
        if let Some(units) = limits.cpu_shares {
            let shares = units.clamp(2, 262_144);
            let weight = 1 + (u64::from(shares) - 2) * 9_999 / 262_142;
            self.set("cpu", "cpu.shares", "cpu.weight", &shares.to_string(), &weight.to_string())?;
        }
        if let Some(units) = limits.cpu_quota {
            // 1024 units are one core; the kernel's least quota is 1 ms in a period of 100 ms.
            let quota = (u64::from(units) * 100_000 / 1024).max(1_000);
            self.set("cpu", "cpu.cfs_quota_us", "cpu.max", &quota.to_string(), &format!("{quota} 100000"))?;
        }
        if let Some(pids) = limits.pids {
            self.set("pids", "pids.max", "pids.max", &pids.to_string(), &pids.to_string())?;
        }
        Ok(())
    }

    fn set(&self, controller: &str, v1: &str, v2: &str, v1_value: &str, v2_value: &str) -> io::Result<()> {
        match self.hierarchies.of(controller) {
            Some((root, false)) => write(&root.join(&self.relative).join(v1), v1_value),
            Some((root, true)) => write(&root.join(&self.relative).join(v2), v2_value),
            None => Ok(()),
        }
    }

    /// What is left to do for the child of a [`fork_into`] the group: it moves its own and only thread into version 1's.
    /// Only that is free of the lock which every start and end of a process on the machine holds: to take it for a move by
    /// `cgroup.procs` takes 7 to 20 ms for each hierarchy, and one at a time.
    pub fn join(&self) -> io::Result<()> {
        let mut roots: Vec<&PathBuf> = self.hierarchies.v1.values().collect();
        roots.sort();
        roots.dedup();
        roots.into_iter().try_for_each(|root| write(&root.join(&self.relative).join("tasks"), "0"))
    }

    /// How many processes of the group the kernel killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some((root, v2)) = self.hierarchies.of("memory") else { return 0 };
        let file = if v2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(root.join(&self.relative).join(file)).unwrap_or_default();
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    /// Processor time that the group and those below it have used, in nanoseconds.
    pub fn cpu_ns(&self) -> Option<u64> {
        if let Some(root) = self.hierarchies.v1.get("cpuacct") {
            return self.read(root, "cpuacct.usage")?.trim().parse().ok();
        }
        let (root, _) = self.hierarchies.v2.as_ref()?;
        let stat = self.read(root, "cpu.stat")?;
        Some(stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse::<u64>().ok()? * 1_000)
    }

    /// Memory that the group uses, in bytes, without file pages that were not used lately.
    pub fn memory_bytes(&self) -> Option<u64> {
        let (root, v2) = self.hierarchies.of("memory")?;
        let (current, idle) = match v2 {
            true => ("memory.current", "inactive_file "),
            false => ("memory.usage_in_bytes", "total_inactive_file "),
        };
        let used: u64 = self.read(root, current)?.trim().parse().ok()?;
        let stat = self.read(root, "memory.stat")?;
        let idle = stat.lines().find_map(|line| line.strip_prefix(idle)).and_then(|n| n.trim().parse().ok());
        Some(used.saturating_sub(idle.unwrap_or(0)))
    }

    /// Processor time of programs and of the kernel for them, in nanoseconds.
    pub fn cpu_modes(&self) -> Option<(u64, u64)> {
        let of = |text: &str, name: &str| text.lines().find_map(|l| l.strip_prefix(name))?.trim().parse::<u64>().ok();
        if let Some(root) = self.hierarchies.v1.get("cpuacct") {
            let stat = self.read(root, "cpuacct.stat")?;
            let ticks = 1_000_000_000 / crate::usage::TICKS;
            return Some((of(&stat, "user ")? * ticks, of(&stat, "system ")? * ticks));
        }
        let (root, _) = self.hierarchies.v2.as_ref()?;
        let stat = self.read(root, "cpu.stat")?;
        Some((of(&stat, "user_usec ")? * 1_000, of(&stat, "system_usec ")? * 1_000))
    }

    /// Periods with a ceiling, those in which it was met, and the nanoseconds waited.
    pub fn throttling(&self) -> Option<(u64, u64, u64)> {
        let (root, v2) = self.hierarchies.of("cpu")?;
        let stat = self.read(root, "cpu.stat")?;
        let of = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name))?.trim().parse::<u64>().ok();
        let waited = if v2 { of("throttled_usec ").map(|n| n * 1_000) } else { of("throttled_time ") };
        Some((of("nr_periods ")?, of("nr_throttled ")?, waited?))
    }

    pub fn memory(&self) -> Option<Memory> {
        let (root, v2) = self.hierarchies.of("memory")?;
        let [current, peak, limit] = match v2 {
            true => ["memory.current", "memory.peak", "memory.max"],
            false => ["memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes"],
        };
        let number = |file: &str| self.read(root, file)?.trim().parse::<u64>().ok();
        let stat = self.read(root, "memory.stat")?;
        let details = stat.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        });
        Some(Memory {
            current: number(current)?,
            peak: number(peak),
            limit: number(limit).unwrap_or(u64::MAX),
            details: details.collect(),
        })
    }

    /// Processes and threads in the group, and their bound if there is one.
    pub fn processes(&self) -> Option<(u64, Option<u64>)> {
        let (root, _) = self.hierarchies.of("pids")?;
        let number = |file: &str| self.read(root, file)?.trim().parse::<u64>().ok();
        Some((number("pids.current")?, number("pids.max")))
    }

    fn read(&self, root: &Path, file: &str) -> Option<String> {
        fs::read_to_string(root.join(&self.relative).join(file)).ok()
    }

    /// The directories of this group that exist.
    pub fn existing(&self) -> Vec<PathBuf> {
        self.hierarchies.roots().iter().map(|r| r.join(&self.relative)).filter(|d| d.is_dir()).collect()
    }

    /// Kills what is left in the group and below, and removes it; then the groups above it as far
    /// as they are empty.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + LONGEST_END;
        for root in self.hierarchies.roots() {
            let directory = root.join(&self.relative);
            let mut wait = Duration::from_millis(1);
            while let Err(error) = remove_tree(&directory) {
                if Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_millis(50));
            }
            let mut above = self.relative.parent();
            while let Some(parent) = above.filter(|p| !p.as_os_str().is_empty()) {
                if fs::remove_dir(root.join(parent)).is_err() {
                    break;
                }
                above = parent.parent();
            }
        }
        Ok(())
    }
}

/// A fork whose child is to be in the group, once it has called [`Group::join`]: in version 2 it begins there.
pub fn fork_into(group: Option<&Group>) -> io::Result<Forked> {
    let v2 = group.and_then(|group| Some((group.hierarchies.v2.as_ref()?, group)));
    let directory = v2.map(|((root, _), group)| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(root.join(&group.relative), flags, Mode::empty())
    });
    let directory = directory.transpose()?;
    sys::fork_into(directory.as_ref().map(AsFd::as_fd), 0)
}

/// Whether a child does begin in the group `name` of version 2 at `root`: for tests, whose own processes have threads.
#[doc(hidden)]
pub fn begins_in(root: &Path, name: &str) -> io::Result<bool> {
    let hierarchies = Hierarchies { v1: BTreeMap::new(), v2: Some((root.to_owned(), Vec::new())) };
    match fork_into(Some(&hierarchies.group(Path::new(name))))? {
        Forked::Child => {
            let inside = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            sys::exit_now(i32::from(!inside.lines().any(|line| line == format!("0::/{name}"))))
        }
        Forked::Parent(child) => Ok(sys::wait_child(child)? == (Some(0), None)),
    }
}

/// `parent` may be removed by another task's end between its making and ours: then from the top again.
fn make_dir(directory: &Path, root: &Path, relative: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::create_dir(directory) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut above = root.to_owned();
                for part in relative.components() {
                    above.push(part);
                    if above == directory {
                        break;
                    }
                    let _ = fs::create_dir(&above);
                }
            }
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", directory.display()))),
        }
    }
    Err(io::Error::other(format!("{}: its parent goes away again and again", directory.display())))
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    for pid in fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid) = pid.parse::<i32>()
            && pid > 0
        {
            let _ = crate::sys::kill(pid, libc::SIGKILL);
        }
    }
    match fs::remove_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|e| io::Error::new(e.kind(), format!("{} = {value}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_use_version_one() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 29 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(mounts, |_| "hugetlb".to_owned());
        assert_eq!(found.of("memory"), Some((Path::new("/sys/fs/cgroup/memory"), false)));
        assert_eq!(found.of("cpu"), Some((Path::new("/sys/fs/cgroup/cpu,cpuacct"), false)));
        assert_eq!(found.of("pids"), None);
    }

    /// Version 2's files, stood for by plain ones.
    #[test]
    fn limits_as_version_two_takes_them() {
        let root = std::env::temp_dir().join(format!("quarry-cgroup-{}", std::process::id()));
        let group = root.join("quarry/t");
        fs::create_dir_all(&group).unwrap();
        for file in ["memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "pids.max"] {
            fs::write(group.join(file), "").unwrap();
        }
        for directory in [&root, &root.join("quarry")] {
            fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
        }
        fs::write(group.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        fs::write(group.join("memory.current"), "5000\n").unwrap();
        fs::write(group.join("memory.stat"), "anon 4000\ninactive_file 1000\n").unwrap();
        fs::write(group.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        let controllers = ["memory", "cpu", "pids"].map(str::to_owned).to_vec();
        let hierarchies = Hierarchies { v1: BTreeMap::new(), v2: Some((root.clone(), controllers)) };
        let made = hierarchies.group(Path::new("quarry/t"));
        made.create().unwrap();
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(256),
            memory: Some(256),
            memory_reservation: Some(128),
            pids: Some(64),
        };
        made.limit(&limits).unwrap();
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("memory.max"), "268435456");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("memory.low"), "134217728");
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "25000 100000");
        assert_eq!(read("pids.max"), "64");
        let control = fs::read_to_string(root.join("quarry/cgroup.subtree_control")).unwrap();
        assert_eq!(control, "+memory +cpu +pids");
        assert_eq!(made.oom_kills(), 2);
        assert_eq!((made.cpu_ns(), made.memory_bytes()), (Some(1_500_000), Some(4_000)));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_unified_mount_has_its_listed_controllers() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(mounts, |_| "cpuset cpu io memory pids".to_owned());
        assert_eq!(found.of("pids"), Some((Path::new("/sys/fs/cgroup"), true)));
        assert!(found.describe().starts_with("version 2"));
    }
}
