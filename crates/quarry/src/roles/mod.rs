//! The roles that one binary takes: `serve`, `proxy`, `shim`, `holder`.

mod front;
pub mod proxy;
pub mod serve;
pub mod stop;
