//! The doing of the control process: the store, the AWS operations (`<service>/<operation>.rs`) and
//! the reconcilers that carry out what `quarry-domain` plans.

pub mod access_logs;
pub mod acm;
pub mod api;
pub mod applicationautoscaling;
pub mod audit;
pub mod authorization;
pub mod autoscaling;
pub mod calls;
pub mod cloudformation;
pub mod cloudtrail;
pub mod cloudwatch;
pub mod cut;
pub mod ec2;
pub mod ecr;
pub mod ecs;
pub mod elbv2;
pub mod endpoint;
pub mod iam;
pub mod link;
pub mod logs;
pub mod machine;
mod page;
pub mod platform;
pub mod secretsmanager;
pub mod servicediscovery;
pub mod ssm;
pub mod start;
pub mod status;
pub mod store;
pub mod sts;
pub mod vault;
pub mod wake;
pub mod xray;

#[cfg(test)]
mod random;
#[cfg(test)]
pub(crate) mod testing;

pub use elbv2::limits::Quotas;
pub use machine::Machine;
pub use platform::{Platform, PlatformConfig};
pub use start::{Control, operations, registry_auth, start};
