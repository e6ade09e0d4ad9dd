//! The roles that one binary takes: `serve`, `proxy`, `shim`, `holder`.

pub mod proxy;
pub mod serve;
pub mod stop;
