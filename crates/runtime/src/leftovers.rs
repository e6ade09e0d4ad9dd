//! What still belongs to a data directory: processes, mounts, control groups, network namespaces.

use crate::cgroup::Hierarchies;
use crate::layout::Layout;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One sentence for each thing that is left; empty when the data directory's tasks and its holder
/// are all gone. Reads /proc: what another user runs is seen only as far as it allows.
pub fn leftovers(data_dir: &Path) -> Vec<String> {
    let Ok(layout) = Layout::new(data_dir) else { return Vec::new() };
    let mut left = Vec::new();
    let group = layout.cgroup();
    let group_name = format!("/{}", group.display());
    let processes = processes(&layout, &group_name);
    let own = fs::read_link("/proc/self/ns/net").ok();
    for process in processes {
        let network = fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok();
        let namespace = match network {
            Some(network) if Some(&network) != own.as_ref() => format!(", network namespace {}", network.display()),
            _ => String::new(),
        };
        let shown = String::from_utf8_lossy(&process.command).replace('\0', " ");
        left.push(format!("process {}: {}{namespace}", process.pid, shown.trim()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines() {
        let point = line.split(' ').nth(4).unwrap_or_default();
        if Path::new(point).starts_with(layout.data()) && Path::new(point) != layout.data() {
            left.push(format!("mount at {point}"));
        }
    }
    for directory in Hierarchies::detect().group(&group).existing() {
        left.push(format!("control group {}", directory.display()));
    }
    left
}

struct Process {
    pid: u32,
    parent: u32,
    command: Vec<u8>,
    belongs: bool,
}

/// The nursery, the shims, the holder, what is in the data directory's control groups or copies of images, and
/// all that descends from these.
fn processes(layout: &Layout, group: &str) -> Vec<Process> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let place = entry.path();
        let stat = fs::read_to_string(place.join("stat")).unwrap_or_default();
        let mut fields = crate::proc::fields(&stat);
        let zombie = fields.next() == Some("Z");
        let parent = fields.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        let command = fs::read(place.join("cmdline")).unwrap_or_default();
        let in_group = fs::read_to_string(place.join("cgroup"))
            .is_ok_and(|text| text.lines().any(|l| within(l.rsplit(':').next().unwrap_or_default(), group)));
        let belongs = in_group || belongs(&command, layout.data()) || within_tasks(&place.join("cwd"), layout);
        if pid != std::process::id() && !zombie {
            all.push(Process { pid, parent, command, belongs });
        }
    }
    loop {
        let parents: Vec<u32> = all.iter().filter(|p| p.belongs).map(|p| p.pid).collect();
        let descendants = all.iter_mut().filter(|p| !p.belongs && parents.contains(&p.parent));
        if descendants.map(|p| p.belongs = true).count() == 0 {
            break;
        }
    }
    all.retain(|p| p.belongs);
    all
}

/// `<anything> nursery|shim|holder|probe <data dir or below>`.
fn belongs(command: &[u8], data: &Path) -> bool {
    let args: Vec<&[u8]> = command.split(|b| *b == 0).collect();
    let role = args.get(1).copied().unwrap_or_default();
    let place = args.get(2).copied().unwrap_or_default();
    [&b"nursery"[..], b"shim", b"holder", b"probe"].contains(&role)
        && Path::new(std::ffi::OsStr::from_bytes(place)).starts_with(data)
}

/// Tasks without isolation run in their copy of the image.
fn within_tasks(cwd: &Path, layout: &Layout) -> bool {
    fs::read_link(cwd).is_ok_and(|path| path.starts_with(layout.tasks()))
}

fn within(path: &str, group: &str) -> bool {
    path.find(group).is_some_and(|at| matches!(path.as_bytes().get(at + group.len()), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roles_of_this_directory_belong_to_it() {
        let data = Path::new("/q");
        assert!(belongs(b"quarry\0shim\0/q/tasks/1\0", data));
        assert!(!belongs(b"quarry\0shim\0/q2/tasks/1\0", data));
        assert!(!belongs(b"vi\0/q/tasks/1\0", data));
        assert!(within("/a/quarry/12/t", "/quarry/12"));
        assert!(!within("/quarry/123", "/quarry/12"));
    }
}
