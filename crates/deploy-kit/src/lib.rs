//! What a deployment is made from: manifests in Copilot's form become CloudFormation templates, and Dockerfiles that
//! start `FROM scratch` become images, without Docker.
//!
//! [`build`] reads a Dockerfile and its context and gives an image as plain bytes; pushing it is the client's work.
//! The same input gives the same bytes: times are zero, owners are what the Dockerfile says, entries are sorted.
//! [`compose`] turns Compose files into manifests, [`adopt`] services that run. [`manifest`] reads what a service wants in an environment, and [`template`] writes it down for CloudFormation.

pub mod adopt;
pub mod compose;
pub mod dockerfile;
pub mod image;
pub mod manifest;
pub mod template;

mod context;
mod pattern;

pub use context::Context;
pub use dockerfile::{Dockerfile, DockerfileError};
pub use image::{BuildError, BuiltImage, Layer, Options, build};
