//! From images to running containers, without a daemon: layers are unpacked safely, each task gets
//! namespaces, limits and a small parent process of its own (the shim), and a holder keeps the
//! network on which tasks meet the rest. See [`Runtime`].
//!
//! One binary plays all parts: it must call, first thing in `main` and before any thread exists,
//! [`nursery_main`] for `nursery <data dir>`, [`holder_main`] for `holder <data dir>` and [`probe_main`]
//! for `probe <data dir>` ([`dispatch`] does it), and end with the returned code. The shims are the nursery's
//! children; their command line reads `shim <task dir>`.

mod broker;
mod cgroup;
mod exec;
mod holder;
mod image;
mod layout;
mod leftovers;
mod netlink;
mod nursery;
mod probe;
mod proc;
mod record;
mod runtime;
mod shim;
mod stats;
mod sys;
mod tree;
mod usage;
mod watch;

#[doc(hidden)]
pub use cgroup::begins_in;
pub use holder::{HUB_ADDRESS, holder_main};
pub use image::{LayerStore, UnpackError, UnpackLimits};
pub use leftovers::leftovers;
pub use nursery::nursery_main;
pub use probe::{FORCE, forced, probe, probe_main};
pub use runtime::{OpenError, Runtime, RuntimeConfig};

use std::path::Path;

/// Plays the part that the command line names, if it names one of the runtime's: the exit code to
/// end with. `None` for every other command line.
pub fn dispatch() -> Option<i32> {
    let mut args = std::env::args_os().skip(1);
    let (role, path) = (args.next()?, args.next()?);
    let path = Path::new(&path);
    match role.to_str()? {
        "nursery" => Some(nursery_main(path)),
        "holder" => Some(holder_main(path)),
        "probe" => Some(probe_main(path)),
        _ => None,
    }
}
