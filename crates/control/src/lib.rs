//! The doing of the control process: the store, the AWS operations (`<service>/<operation>.rs`) and
//! the reconcilers that carry out what `quarry-domain` plans.

pub mod api;
pub mod platform;
pub mod store;
pub mod wake;

pub use platform::{Platform, PlatformConfig};
