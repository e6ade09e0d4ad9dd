//! Health checks: commands that the shim runs inside its containers, again and again.

use crate::sys;
use quarry_domain::task::{ContainerHealth, HealthCheckSpec, HealthCount};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::time::{Duration, Instant};

/// The check of one running container.
pub struct Check {
    spec: HealthCheckSpec,
    count: HealthCount,
    started: Instant,
    next: Instant,
    under_way: Option<Probe>,
}

/// A command that runs.
pub struct Probe {
    pub pid: i32,
    pub pidfd: OwnedFd,
    deadline: Instant,
}

impl Check {
    /// The first command comes after one interval.
    pub fn new(spec: &HealthCheckSpec) -> Self {
        let started = Instant::now();
        let next = started + Duration::from_secs(spec.interval.into());
        Self { spec: spec.clone(), count: HealthCount::default(), started, next, under_way: None }
    }

    pub fn health(&self) -> ContainerHealth {
        self.count.health
    }

    /// When there is something to do, whether or not a command ends before.
    pub fn due(&self) -> Instant {
        self.under_way.as_ref().map_or(self.next, |probe| probe.deadline)
    }

    /// To wait for the end of the command under way.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.under_way.as_ref().map(|probe| probe.pidfd.as_fd())
    }

    /// Takes in the end of the command under way, and starts the next one by `start` if it is time.
    pub fn step(&mut self, ended: bool, start: impl FnOnce(&[String]) -> io::Result<(i32, OwnedFd)>) {
        let now = Instant::now();
        if let Some(probe) = self.under_way.take_if(|probe| ended || now >= probe.deadline) {
            if !ended {
                let _ = sys::pidfd_send_signal(probe.pidfd.as_fd(), libc::SIGKILL);
            }
            let code = sys::wait_child(probe.pid).map_or(None, |(code, _)| code);
            self.count(ended && code == Some(0), now);
        }
        if self.under_way.is_none() && now >= self.next {
            match start(&self.spec.command) {
                Ok((pid, pidfd)) => {
                    let deadline = now + Duration::from_secs(self.spec.timeout.into());
                    self.under_way = Some(Probe { pid, pidfd, deadline });
                }
                Err(_) => self.count(false, now),
            }
        }
    }

    fn count(&mut self, well: bool, now: Instant) {
        self.count.count(&self.spec, well, (now - self.started).as_secs());
        self.next = now + Duration::from_secs(self.spec.interval.into());
    }

    /// The container is gone: so is what was run in it.
    pub fn end(self) {
        if let Some(probe) = self.under_way {
            let _ = sys::pidfd_send_signal(probe.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_child(probe.pid);
        }
    }
}
