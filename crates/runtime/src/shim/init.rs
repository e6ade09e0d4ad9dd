//! The small PID 1 of a container with `initProcessEnabled`: reaps orphans and passes signals on.

use crate::sys;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, WaitOptions};

/// Size of `struct signalfd_siginfo`, whose first field is the signal's number.
const SIGINFO: usize = 128;

/// Runs until `child` ends, then ends with its code (128 + signal, as shells do).
pub fn run(child: i32, signals: OwnedFd) -> ! {
    let mut buffer = [0u8; SIGINFO];
    loop {
        match rustix::io::read(&signals, &mut buffer[..]) {
            Ok(SIGINFO) => {}
            Ok(_) | Err(rustix::io::Errno::INTR) => continue,
            Err(_) => sys::exit_now(127),
        }
        let signal = i32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        if signal != libc::SIGCHLD {
            let _ = sys::kill(child, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = rustix::process::waitpid(None, WaitOptions::NOHANG) {
            if Some(pid) == Pid::from_raw(child) {
                let code = status.exit_status().or(status.terminating_signal().map(|s| 128 + s));
                sys::exit_now(code.unwrap_or(127));
            }
        }
    }
}
