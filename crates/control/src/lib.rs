//! The doing of the control process: the store, the AWS operations (`<service>/<operation>.rs`) and
//! the reconcilers that carry out what `quarry-domain` plans.

pub mod api;
pub mod status;
pub mod start;
pub mod endpoint;
pub mod logs;
pub mod ecs;
pub mod autoscaling;
pub mod cloudformation;
pub mod ec2;
pub mod ecr;
pub mod elbv2;
pub mod iam;
pub mod link;
pub mod platform;
pub mod ssm;
pub mod store;
pub mod sts;
pub mod wake;

#[cfg(test)]
pub(crate) mod testing;

pub use platform::{Platform, PlatformConfig};

pub use start::{Control, operations, registry_auth, start};
