//! What is to be seen of the platform, by the API and on the machine, and where the two differ.

use super::*;

pub fn services(aws: &Client, cluster: &str) -> Vec<Service> {
    let listed = block_on(
        aws.paginate::<ListServices>(ListServicesRequest { cluster: Some(cluster.into()), ..Default::default() }),
    );
    let names: Vec<String> =
        listed.unwrap().into_iter().flat_map(|page| page.service_arns.unwrap_or_default()).collect();
    let described = names.chunks(10).flat_map(|names| {
        let described = block_on(aws.call::<DescribeServices>(DescribeServicesRequest {
            cluster: Some(cluster.into()),
            services: Some(names.to_vec()),
            ..Default::default()
        }));
        described.unwrap().services.unwrap_or_default()
    });
    described.filter(|s| s.status.as_deref() == Some("ACTIVE")).collect()
}

/// Waits until everything is as wanted: the API, the runtime's directories, processes, control groups
/// and the hub's interfaces tell of the same tasks, each once.
pub fn converge(stage: &Stage, when: &str) {
    let deadline = Instant::now() + CONVERGES;
    loop {
        match differences(stage) {
            found if found.is_empty() => return,
            found => {
                let late = CONVERGES.as_secs();
                assert!(Instant::now() < deadline, "{when}: not as wanted after {late} s:\n{}", told(stage, &found));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Differences, and the last lines of the log.
pub fn told(stage: &Stage, differences: &[String]) -> String {
    let log = stage.platform.log();
    let mut from = log.len().saturating_sub(6000);
    while !log.is_char_boundary(from) {
        from += 1;
    }
    format!("{}\n{}", differences.join("\n"), &log[from..])
}

pub fn differences(stage: &Stage) -> Vec<String> {
    let aws = stage.platform.client().unwrap();
    let data = stage.platform.data_dir();
    let mut found = Vec::new();
    let mut wanted = 0;
    for service in services(&aws, &stage.cluster) {
        let (desired, running) = (service.desired_count.unwrap(), service.running_count.unwrap());
        let (pending, deployments) = (service.pending_count.unwrap(), service.deployments.unwrap_or_default().len());
        wanted += desired;
        if (running, pending, deployments) != (desired, 0, 1) {
            found.push(format!(
                "{}: desired {desired}, running {running}, pending {pending}, deployments {deployments}: {:?}",
                service.service_name.unwrap(),
                service.events.unwrap_or_default().into_iter().take(3).map(|e| e.message).collect::<Vec<_>>()
            ));
        }
    }
    let stacks = block_on(aws.paginate::<DescribeStacks>(Default::default())).unwrap();
    for stack in stacks.into_iter().flat_map(|page| page.stacks.unwrap_or_default()) {
        let status = stack.stack_status.unwrap_or_default();
        if !status.ends_with("_COMPLETE") {
            found.push(format!("stack {} is {status}", stack.stack_name.unwrap_or_default()));
        }
    }
    let listed = block_on(
        aws.paginate::<ListTasks>(ListTasksRequest { cluster: Some(stage.cluster.clone()), ..Default::default() }),
    );
    let listed: BTreeSet<String> = listed
        .unwrap()
        .into_iter()
        .flat_map(|page| page.task_arns.unwrap_or_default())
        .map(|arn| arn.rsplit('/').next().unwrap().to_owned())
        .collect();
    if listed.len() != wanted as usize {
        found.push(format!("{wanted} tasks wanted, listed are {listed:?}"));
    }
    let mut differ = |what: &str, there: BTreeSet<String>| {
        if there != listed {
            found.push(format!("{what}: {there:?}, listed are {listed:?}"));
        }
    };
    let entries = std::fs::read_dir(data.join("tasks")).unwrap().flatten();
    differ("directories", entries.map(|e| e.file_name().into_string().unwrap()).collect());
    let shims = shims(data);
    let groups = control_groups(&shims);
    let holders = processes("holder", data);
    let proxies = processes("proxy", data);
    for (task, pids) in &shims {
        if pids.len() != 1 {
            found.push(format!("task {task} has {} shims", pids.len()));
        }
    }
    let mut differ = |what: &str, there: BTreeSet<String>| {
        if there != listed {
            found.push(format!("{what}: {there:?}, listed are {listed:?}"));
        }
    };
    differ("shims", shims.into_keys().collect());
    if let Some(groups) = groups {
        differ("control groups", groups);
    }
    if let [holder] = holders[..] {
        let devices = std::fs::read_to_string(format!("/proc/{holder}/net/dev")).unwrap_or_default();
        let devices = devices.lines().skip(2).filter(|l| !l.trim_start().starts_with("lo:")).count();
        if devices != listed.len() {
            found.push(format!("the hub has {devices} interfaces, listed are {} tasks", listed.len()));
        }
    } else if !holders.is_empty() {
        found.push(format!("{} holders", holders.len()));
    }
    if proxies.len() != 1 {
        found.push(format!("{} proxies", proxies.len()));
    }
    found
}

/// Addresses of the hub's own and of load balancers (198.19.0.0/17) with a TCP listener in the hub's network namespace, in
/// the kernel's notation; those above are tasks' own.
pub fn hub_listeners(holder: i32) -> BTreeSet<String> {
    let table = std::fs::read_to_string(format!("/proc/{holder}/net/tcp")).unwrap_or_default();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let stays = |at: &str| {
        // Hexadecimal, the last byte of the address first.
        let third = at.get(2..4).and_then(|byte| u8::from_str_radix(byte, 16).ok());
        at.get(4..8) == Some("13C6") && third.is_some_and(|third| third < 128)
    };
    let listening = rows.filter(|row| row.get(3) == Some(&"0A"));
    listening.map(|row| row[1].to_owned()).filter(|at| stays(at)).collect()
}

pub fn try_kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Processes of a role of this data directory.
pub fn processes(role: &str, data: &Path) -> Vec<i32> {
    with_role(role, data).into_iter().map(|(pid, _)| pid).collect()
}

pub fn with_role(role: &str, data: &Path) -> Vec<(i32, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = command.split('\0').collect();
        let place = words.iter().skip(2).find(|word| Path::new(word).starts_with(data));
        if words.get(1) == Some(&role)
            && let Some(place) = place
        {
            found.push((pid, PathBuf::from(place)));
        }
    }
    found
}

/// The shims by task. What a shim forks before it executes a container still has its command line.
pub fn shims(data: &Path) -> BTreeMap<String, Vec<i32>> {
    let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let all = with_role("shim", data);
    for (pid, place) in &all {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|s| s.split_whitespace().nth(1)?.parse::<i32>().ok());
        if !all.iter().any(|(other, _)| Some(*other) == parent) {
            found.entry(place.file_name().unwrap().to_str().unwrap().to_owned()).or_default().push(*pid);
        }
    }
    found
}

/// The tasks that have a control group, if tasks have any here.
pub fn control_groups(shims: &BTreeMap<String, Vec<i32>>) -> Option<BTreeSet<String>> {
    let shims: BTreeSet<i32> = shims.values().flatten().copied().collect();
    let child = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: i32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        (shims.contains(&parent) && groups.contains("/quarry/")).then_some(groups)
    })?;
    let mut found = BTreeSet::new();
    for line in child.lines().filter(|line| line.contains("/quarry/")) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, Path::new(parts.next()?));
        let root = match controllers {
            "" => PathBuf::from("/sys/fs/cgroup"),
            some => Path::new("/sys/fs/cgroup").join(some),
        };
        let ours = root.join(path.parent()?.parent()?.strip_prefix("/").ok()?);
        let entries = std::fs::read_dir(ours).ok()?.flatten().filter(|e| e.path().is_dir());
        found.extend(entries.map(|e| e.file_name().into_string().unwrap()));
    }
    Some(found)
}

pub fn assert_nothing_left(data: &Path) {
    assert_eq!(quarry_runtime::leftovers(data), Vec::<String>::new());
    for role in ["serve", "proxy", "holder", "nursery", "shim"] {
        assert_eq!(processes(role, data), Vec::<i32>::new(), "{role} is left");
    }
}
