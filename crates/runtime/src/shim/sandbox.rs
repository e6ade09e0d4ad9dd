//! What the containers of one task share: the user, network, IPC and host-name namespaces.

use crate::record::{IDS_PER_TASK, Plan};
use crate::sys::{self, Forked};
use quarry_domain::isolation::Isolation;
use rustix::fd::{AsFd, OwnedFd};
use rustix::thread::LinkNameSpaceType;
use std::fs::{self, File};
use std::io;

/// Descriptors that keep the namespaces alive as long as the shim lives.
pub struct Sandbox {
    pub user: OwnedFd,
    pub net: OwnedFd,
    pub ipc: OwnedFd,
    pub uts: OwnedFd,
    /// A range of ids is mapped, not a single one.
    pub ranged: bool,
}

impl Sandbox {
    /// Makes the namespaces by a short-lived child: a namespace made together with a user
    /// namespace belongs to it.
    pub fn create(plan: &Plan) -> io::Result<Self> {
        Self::with_ids(plan.isolation, plan.id_base)
    }

    pub fn with_ids(isolation: Isolation, id_base: u32) -> io::Result<Self> {
        let ranged = isolation == Isolation::UserNamespaces;
        let (hold, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let child = match sys::fork(flags).map_err(|e| context("making namespaces", e))? {
            Forked::Child => {
                drop(release);
                let _ = rustix::io::read(&hold, &mut [0u8; 1][..]);
                sys::exit_now(0);
            }
            Forked::Parent(pid) => pid,
        };
        drop(hold);
        let made = (|| {
            let map = if ranged { format!("0 {id_base} {IDS_PER_TASK}") } else { "0 0 1".to_owned() };
            fs::write(format!("/proc/{child}/uid_map"), &map).map_err(|e| context("mapping user ids", e))?;
            fs::write(format!("/proc/{child}/gid_map"), &map).map_err(|e| context("mapping group ids", e))?;
            let open =
                |name: &str| -> io::Result<OwnedFd> { Ok(File::open(format!("/proc/{child}/ns/{name}"))?.into()) };
            Ok(Self { user: open("user")?, net: open("net")?, ipc: open("ipc")?, uts: open("uts")?, ranged })
        })();
        drop(release);
        sys::wait_child(child)?;
        made
    }

    /// Moves the calling process into all four and makes it the root user there.
    pub fn enter(&self) -> io::Result<()> {
        let enter = |fd: &OwnedFd, kind| rustix::thread::move_into_link_name_space(fd.as_fd(), Some(kind));
        enter(&self.user, LinkNameSpaceType::User)?;
        enter(&self.net, LinkNameSpaceType::Network)?;
        enter(&self.ipc, LinkNameSpaceType::InterProcessCommunication)?;
        enter(&self.uts, LinkNameSpaceType::HostNameAndNISDomainName)?;
        if self.ranged {
            rustix::thread::set_thread_groups(&[])?;
        }
        let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

/// An error with the step it happened in.
pub fn context(step: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{step}: {error}"))
}
