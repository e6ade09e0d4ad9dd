//! Trying this machine: a container is made to the last step, except that no program is run.

use super::container::{self, Surroundings};
use super::inside::Failure;
use super::rootfs::Files;
use super::sandbox::{Sandbox, context};
use super::seccomp::Filters;
use crate::netlink::Netlink;
use crate::{holder, sys};
use quarry_domain::isolation::Isolation;
use quarry_domain::task::{ContainerSpec, Limits, Mount};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// Makes an empty container with `isolation` in `directory` (on the data directory's file system)
/// and says what stopped it. The calling process is changed for good: call it in a fork.
pub fn rehearse(isolation: Isolation, directory: &Path) -> io::Result<()> {
    let (layer, volume) = (directory.join("layer"), directory.join("volume"));
    for path in [&layer, &volume] {
        std::fs::create_dir_all(path)?;
    }
    if isolation == Isolation::Rootless {
        let user = holder::make_user_namespace().map_err(|e| context("making a user namespace", e))?;
        super::join_user_namespace(&user)?;
    }
    let sandbox = Sandbox::with_ids(isolation, crate::record::FIRST_ID)?;
    move_into_link_name_space(sandbox.net.as_fd(), Some(LinkNameSpaceType::Network))?;
    Netlink::open()?
        .make_veth("eth0", "peer0", sandbox.net.as_fd())
        .map_err(|e| context("making a pair of virtual network devices (veth)", e))?;
    let filters = Filters::new()?;
    let log = OpenOptions::new().append(true).create(true).open(directory.join("log"))?;
    let spec = ContainerSpec {
        name: "probe".to_owned(),
        image: quarry_domain::image::ResolvedImage {
            digest: String::new(),
            config: Default::default(),
            layers: Vec::new(),
        },
        args: vec!["/probe".to_owned()],
        env: Vec::new(),
        secrets: Default::default(),
        working_dir: "/".to_owned(),
        user: String::new(),
        health_check: None,
        depends_on: Vec::new(),
        start_timeout: None,
        read_only_root: false,
        init: false,
        mounts: vec![Mount { source: volume, target: "/volume".to_owned(), read_only: false, no_links: false }],
        options: Default::default(),
        limits: Limits::default(),
        search: Vec::new(),
        ports: Vec::new(),
    };
    let around = Surroundings {
        sandbox: &sandbox,
        id_base: crate::record::FIRST_ID,
        filters: &filters,
        files: Files { hostname: "probe\n".to_owned(), hosts: String::new(), resolv_conf: String::new() },
        layers: &[layer],
        writable: directory.join("fs"),
        log: log.into(),
        group: None,
        rehearsal: true,
    };
    let running = container::start(&spec, around).map_err(|failure| match failure {
        Failure::Create(reason) | Failure::Start(reason) => io::Error::other(reason),
    })?;
    match sys::wait_child(running.pid)? {
        (Some(0), _) => Ok(()),
        (code, signal) => {
            Err(io::Error::other(format!("the container ended early (code {code:?}, signal {signal:?})")))
        }
    }
}
