//! The roles that one binary takes: `serve`, `proxy`, `shim`, `holder`.

mod daemon;
mod front;
pub mod proxy;
pub mod serve;
mod session;
pub mod stop;
mod tail;

/// Raises the bound of open files to the most that is allowed: each connection, task and log is one.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the bound of open files stays as it is");
    }
}
