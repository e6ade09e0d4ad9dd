//! The manifests that `svc init` and `env init` write.

use super::{Kind, Platform};
use crate::template::yaml::scalar;
use std::fmt::Write as _;

/// What a new service's manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewService {
    pub name: String,
    pub kind: Kind,
    pub image: NewImage,
    pub port: Option<u16>,
    pub platform: Platform,
    /// Where it gets requests, for a load balanced one: its name, or `/` for all others.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewImage {
    /// A Dockerfile, from the workspace's root.
    Dockerfile(String),
    Location(String),
}

/// The manifest of a new service.
pub fn new_service(new: &NewService) -> String {
    let mut out = format!(
        "# The service {name}, in the form of AWS Copilot's manifests. `quarry svc package` shows what is made of it.\n\n\
         # The name is part of the names of its stack, its repository and its log group.\n\
         name: {name}\ntype: {kind}\n\n",
        name = new.name,
        kind = new.kind.name()
    );
    if new.kind == Kind::LoadBalanced {
        let _ = write!(
            out,
            "# Which of the load balancer's requests this service answers.\n\
             http:\n  \
             # This path and all below it; '/' takes every request that no other service takes.\n  \
             path: '{}'\n  \
             # The path that health checks ask for, '/' if it is not given.\n  \
             # healthcheck: '/'\n\n",
            new.path
        );
    }
    out.push_str("# The image and where it listens.\nimage:\n");
    match &new.image {
        NewImage::Dockerfile(path) => {
            let _ = writeln!(
                out,
                "  # The Dockerfile, from here; its directory is the context.\n  build: {}",
                scalar(path)
            );
        }
        NewImage::Location(location) => {
            let _ = writeln!(out, "  location: {}", scalar(location));
        }
    }
    if let Some(port) = new.port {
        let _ = writeln!(out, "  port: {port}");
    }
    if new.platform == Platform::Arm {
        out.push_str("\nplatform: linux/arm64\n");
    }
    out.push_str(
        "\ncpu: 256       # CPU units of a task; 1024 are one processor\n\
         memory: 512    # MiB of a task\n\
         count: 1       # tasks\n\
         exec: true     # whether `quarry svc exec` may run commands in its containers\n\
         network:\n  connect: true # others reach it by its short name\n\n\
         # storage:\n#   readonly_fs: true\n\n\
         # variables:\n#   LOG_LEVEL: info\n\n\
         # secrets:                   # names of parameters in the SSM Parameter Store\n\
         #   API_TOKEN: /my/token\n\n\
         # What is different in one environment:\n\
         # environments:\n#   test:\n#     count: 2\n",
    );
    out
}

/// The manifest of a new environment.
pub fn new_environment(name: &str) -> String {
    format!(
        "# The environment {name}: a network, a cluster and the load balancer of its services.\n\n\
         name: {name}\ntype: Environment\n\n\
         # A network other than 10.0.0.0/16, when it is to be connected to another one:\n\
         # network:\n#   vpc:\n#     cidr: 10.1.0.0/16\n\n\
         # HTTPS with certificates of ACM:\n\
         # http:\n#   public:\n#     certificates: [arn:aws:acm:…]\n\n\
         observability:\n  container_insights: false\n"
    )
}
