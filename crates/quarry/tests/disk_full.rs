//! The disk is full, or turns read-only as file systems do when they find an error: what cannot be written down is
//! refused and not acknowledged; what needs no disk goes on; once there is room again, so does the rest.

mod stage;

use quarry_aws::ecr::op::CreateRepository;
use quarry_aws::ecs::op::{CreateCluster, ListClusters};
use quarry_aws::ecs::{CreateClusterRequest, ListClustersRequest};
use quarry_aws::{ec2, ecr, elbv2};
use quarry_client::{Client, oci};
use quarry_testkit::image::push;
use quarry_testkit::{Platform, wait_for};
use serde_json::Value;
use stage::{EXE, block_on, request};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

/// Names the small file system, in the run of this program that has one: testkit makes its platforms there.
const INSIDE: &str = quarry_testkit::DIRECTORY;

/// Runs [`inside`] in a mount namespace of its own, which takes the file system away with it.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let small = tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap();
    let script = format!("mount -t tmpfs -o size=64m tmpfs {} && exec \"$@\"", small.path().display());
    let user = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command.args([user, "--propagation", "private", "sh", "-c", &script, "sh"]);
    match command.args(["true"]).status() {
        Ok(status) if status.success() => {}
        other => {
            println!("skipped: no file system may be mounted here ({other:?})");
            return;
        }
    }
    let mut command = Command::new("unshare");
    command.args([user, "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(std::env::current_exe().unwrap()).args(["--ignored", "--exact", "inside", "--nocapture"]);
    let output = command.env(INSIDE, small.path()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    println!("{said}");
}

#[test]
#[ignore = "run by a_full_disk_loses_nothing_that_was_acknowledged"]
fn inside() {
    let small = std::path::PathBuf::from(std::env::var_os(INSIDE).expect("this fills a file system"));
    let mut platform = Platform::start(EXE).unwrap();
    let aws = platform.client().unwrap();
    let balancer = block_on(load_balancer(&aws));
    let (address, host) = wait_for("the load balancer listens", || front(&platform));
    let serves = || assert_eq!(request(address, &host, "GET", "/", None, ""), Some((200, "up".to_owned())));
    serves();
    let repository = ecr::CreateRepositoryRequest { repository_name: Some("images".into()), ..Default::default() };
    block_on(aws.call::<CreateRepository>(repository)).unwrap();
    let layer = oci::OciLayer::new(oci::LAYER_GZIP, (0..8_000_000u32).map(|n| (n >> 3) as u8).collect::<Vec<u8>>());
    let image = oci::OciImage { config: r#"{"architecture":"amd64","os":"linux"}"#.into(), layers: vec![layer] };

    let fill = &small.join("fill");
    fill_up(fill);
    // A log that was checkpointed has some room; then there is none.
    let mut acknowledged = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for n in 0..400 {
        let name = format!("cluster-{n}");
        let input = CreateClusterRequest { cluster_name: Some(name.clone()), ..Default::default() };
        match block_on(aws.call::<CreateCluster>(input)) {
            Ok(_) => acknowledged.insert(name),
            Err(error) => {
                println!("refused: {error}");
                refused.insert(name)
            }
        };
        if refused.len() == 3 {
            break;
        }
    }
    assert_eq!(refused.len(), 3, "the disk never was full");
    assert_eq!(clusters(&aws), acknowledged, "reads go on");
    serves();
    let error = block_on(push(&aws, &platform.endpoint, "images", "big", &image)).unwrap_err();
    println!("push refused: {error}");
    serves();
    let left: Vec<_> = std::fs::read_dir(platform.data_dir().join("registry/uploads")).unwrap().flatten().collect();
    let left: u64 = left.iter().map(|e| e.metadata().unwrap().len()).sum();
    assert_eq!(left, 0, "the cut off upload takes up room");

    // The proxy starts again on a full disk, too.
    stage::kill(std::fs::read_to_string(platform.data_dir().join("proxy/lock")).unwrap().trim().parse().unwrap());
    wait_for("the proxy is back", || {
        request(address, &host, "GET", "/", None, "").filter(|(status, _)| *status == 200)
    });

    std::fs::remove_file(fill).unwrap();
    let modify = elbv2::ModifyListenerInput {
        listener_arn: Some(balancer),
        default_actions: Some(vec![answer("room")]),
        ..Default::default()
    };
    block_on(aws.call::<elbv2::op::ModifyListener>(modify)).unwrap();
    wait_for("what was changed is in force", || {
        request(address, &host, "GET", "/", None, "").filter(|(_, body)| body == "room")
    });
    block_on(push(&aws, &platform.endpoint, "images", "big", &image)).unwrap();
    platform.kill_serve().unwrap();
    platform.restart_serve().unwrap();
    assert_eq!(clusters(&aws), acknowledged, "exactly what was acknowledged");
    fill_up(fill);
    assert_eq!(clusters(&aws), acknowledged);
    assert!(platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(platform.data_dir()), Vec::<String>::new());
}

/// Names the image in which the small file system is, where it is one that turns read-only.
const IMAGE: &str = "QUARRY_TEST_IMAGE";

/// Runs [`inside_read_only`] in a mount namespace of its own, on a file system of its own.
#[test]
fn a_disk_that_turns_read_only_loses_nothing_that_was_acknowledged() {
    let place = tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap();
    let (image, small) = (place.path().join("image"), place.path().join("d"));
    std::fs::create_dir(&small).unwrap();
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal"]).arg(&image).status();
    let script = format!("mount -o loop,errors=remount-ro {} {} && exec \"$@\"", image.display(), small.display());
    let inside = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(program);
        command
    };
    let possible = made.is_ok_and(|made| made.success())
        && inside("true".as_ref()).output().is_ok_and(|tried| tried.status.success());
    if !possible {
        println!("skipped: no file system of one's own may be mounted here");
        return;
    }
    let mut command = inside(std::env::current_exe().unwrap().as_os_str());
    command.args(["--ignored", "--exact", "inside_read_only", "--nocapture"]);
    let output = command.env(INSIDE, &small).env(IMAGE, &image).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    println!("{said}");
}

#[test]
#[ignore = "run by a_disk_that_turns_read_only_loses_nothing_that_was_acknowledged"]
fn inside_read_only() {
    let small = std::path::PathBuf::from(std::env::var_os(INSIDE).expect("this breaks a file system"));
    let image = std::env::var_os(IMAGE).expect("and mounts it anew");
    let mut platform = Platform::start(EXE).unwrap();
    let aws = platform.client().unwrap();
    block_on(load_balancer(&aws));
    let (address, host) = wait_for("the load balancer listens", || front(&platform));
    let serves = || assert_eq!(request(address, &host, "GET", "/", None, ""), Some((200, "up".to_owned())));
    let create = |name: &str| {
        let input = CreateClusterRequest { cluster_name: Some(name.to_owned()), ..Default::default() };
        block_on(aws.call::<CreateCluster>(input))
    };
    let acknowledged: BTreeSet<String> = ["one", "two", "three"].map(str::to_owned).into();
    for name in &acknowledged {
        create(name).unwrap();
    }
    serves();

    // The kernel's own way: as if it had found a broken block.
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let device = mounts.lines().find(|line| line.split(' ').nth(1) == small.to_str()).unwrap();
    let device = device.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned();
    std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    for n in 0..3 {
        let error = create(&format!("never-{n}")).expect_err("nothing can be written down");
        println!("refused: {error}");
    }
    assert_eq!(clusters(&aws), acknowledged, "reads go on");
    serves();
    platform.kill_serve().unwrap();
    let refused = platform.quarry(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    println!("a new serve: {said}");
    assert!(!refused.status.success() && said.to_lowercase().contains("read-only file system"), "{said}");
    serves();

    // Somebody mends it, for which nothing may be on it.
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = command.split('\0').collect();
        let ours = words.iter().skip(2).any(|word| std::path::Path::new(word).starts_with(&small));
        if ours && matches!(words.get(1), Some(&"proxy" | &"holder" | &"shim")) {
            stage::kill(pid);
        }
    }
    wait_for("it is mounted anew", || {
        Command::new("umount").arg(&small).output().unwrap().status.success().then_some(())
    });
    Command::new("e2fsck").arg("-fy").arg(&image).output().unwrap();
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&small).status().unwrap();
    assert!(mounted.success());
    platform.restart_serve().unwrap();
    assert_eq!(clusters(&aws), acknowledged, "exactly what was acknowledged");
    create("four").unwrap();
    // Not where it was, perhaps: the port of its listener may be free now.
    wait_for("the load balancer serves again", || {
        let (address, host) = front(&platform)?;
        request(address, &host, "GET", "/", None, "").filter(|(status, _)| *status == 200)
    });
    assert!(platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(platform.data_dir()), Vec::<String>::new());
}

/// Where the load balancer is asked: its address and the Host header.
fn front(platform: &Platform) -> Option<(SocketAddr, String)> {
    let listing: Value = serde_json::from_slice(&platform.quarry(&["ls", "--json"]).ok()?.stdout).ok()?;
    let url = listing["load_balancers"][0]["urls"][1].as_str()?.to_owned();
    let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let address = if authority.contains(':') { authority.clone() } else { format!("{authority}:80") };
    Some((address.parse::<SocketAddr>().ok()?, authority))
}

fn fill_up(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write(&vec![b'x'; size]).is_ok_and(|n| n == size) {}
    }
}

fn clusters(aws: &Client) -> BTreeSet<String> {
    let pages = block_on(aws.paginate::<ListClusters>(ListClustersRequest::default())).unwrap();
    let arns = pages.into_iter().flat_map(|page| page.cluster_arns.unwrap_or_default());
    arns.map(|arn| arn.rsplit('/').next().unwrap().to_owned()).collect()
}

fn answer(text: &str) -> elbv2::Action {
    elbv2::Action {
        r#type: Some("fixed-response".into()),
        fixed_response_config: Some(elbv2::FixedResponseActionConfig {
            status_code: Some("200".into()),
            message_body: Some(text.into()),
            content_type: Some("text/plain".into()),
        }),
        ..Default::default()
    }
}

/// A load balancer that answers by itself; its listener's ARN.
async fn load_balancer(aws: &Client) -> String {
    let vpc = aws
        .call::<ec2::op::CreateVpc>(ec2::CreateVpcRequest {
            cidr_block: Some("10.0.0.0/16".into()),
            ..Default::default()
        })
        .await
        .unwrap();
    let vpc = vpc.vpc.unwrap().vpc_id;
    let mut subnets = Vec::new();
    for (n, zone) in ["a", "b"].iter().enumerate() {
        let input = ec2::CreateSubnetRequest {
            vpc_id: vpc.clone(),
            cidr_block: Some(format!("10.0.{n}.0/24")),
            availability_zone: Some(format!("{}{zone}", aws.region())),
            ..Default::default()
        };
        subnets.push(aws.call::<ec2::op::CreateSubnet>(input).await.unwrap().subnet.unwrap().subnet_id.unwrap());
    }
    let group = ec2::CreateSecurityGroupRequest {
        vpc_id: vpc.clone(),
        group_name: Some("web".into()),
        description: Some("web".into()),
        ..Default::default()
    };
    let group = aws.call::<ec2::op::CreateSecurityGroup>(group).await.unwrap().group_id.unwrap();
    let rule = ec2::AuthorizeSecurityGroupIngressRequest {
        group_id: Some(group.clone()),
        ip_protocol: Some("tcp".into()),
        from_port: Some(80),
        to_port: Some(80),
        cidr_ip: Some("0.0.0.0/0".into()),
        ..Default::default()
    };
    aws.call::<ec2::op::AuthorizeSecurityGroupIngress>(rule).await.unwrap();
    let made = aws
        .call::<elbv2::op::CreateLoadBalancer>(elbv2::CreateLoadBalancerInput {
            name: Some("up".into()),
            subnets: Some(subnets),
            security_groups: Some(vec![group]),
            scheme: Some("internal".into()),
            ..Default::default()
        })
        .await
        .unwrap();
    let listener = elbv2::CreateListenerInput {
        load_balancer_arn: made.load_balancers.unwrap().remove(0).load_balancer_arn,
        protocol: Some("HTTP".into()),
        port: Some(80),
        default_actions: Some(vec![answer("up")]),
        ..Default::default()
    };
    let made = aws.call::<elbv2::op::CreateListener>(listener).await.unwrap();
    made.listeners.unwrap().remove(0).listener_arn.unwrap()
}
