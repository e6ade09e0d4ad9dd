//! CloudFormation.

pub mod template;
