//! What a deployment is made from: Dockerfiles that start `FROM scratch` become images here, without Docker.
//!
//! [`build`] reads a Dockerfile and its context and gives an image as plain bytes; pushing it is the client's work.
//! The same input gives the same bytes: times are zero, owners are what the Dockerfile says, entries are sorted.

pub mod dockerfile;
pub mod image;

mod context;
mod pattern;

pub use context::Context;
pub use dockerfile::{Dockerfile, DockerfileError};
pub use image::{BuildError, BuiltImage, Layer, Options, build};
