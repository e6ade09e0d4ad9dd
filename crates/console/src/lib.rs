//! The console: pages for a person over the public APIs.
//!
//! It is a client of the endpoint like any other, with the access key of whoever signed in. Pages (`pages`) ask and
//! draw; what a person does (`actions`) is planned as the API calls it takes, shown as lines of the aws CLI, and done
//! when confirmed. Every page can be read without a script; `live.js` only brings changes in as they happen.

mod access_log;
mod actions;
mod api;
mod chart;
mod cli;
mod diagram;
mod follow;
mod form;
mod html;
mod metrics;
mod origin;
mod pages;
mod server;
mod service_map;
mod session;
mod words;

pub use server::{Body, Console, Settings};
pub use session::{LinkKey, SIGN_IN};
