//! The whole platform under clients that nobody here wrote: the aws CLI as a person types it, boto3,
//! container tools' pushes, and bytes that no good client sends.

#[path = "clients/bad_input.rs"]
mod bad_input;
#[path = "clients/bad_templates.rs"]
mod bad_templates;
#[path = "clients/boto3.rs"]
mod boto3;
#[path = "clients/docker.rs"]
mod docker;
#[path = "clients/dockerd.rs"]
mod dockerd;
#[path = "clients/layers.rs"]
mod layers;
#[path = "clients/microservices.rs"]
mod microservices;
#[path = "clients/raw.rs"]
mod raw;
#[path = "clients/registry.rs"]
mod registry;
#[path = "clients/shell.rs"]
mod shell;
#[path = "clients/stacks.rs"]
mod stacks;
#[path = "clients/suites.rs"]
mod suites;
#[path = "clients/tutorial.rs"]
mod tutorial;

const EXE: &str = env!("CARGO_BIN_EXE_quarry");
