//! Copilot's commands that are not served, each with what to do instead.

use anyhow::{Result, bail};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum Refused {
    /// Not supported: scheduled jobs
    #[command(hide = true)]
    Job(Rest),
    /// Not supported: delivery pipelines
    #[command(hide = true)]
    Pipeline(Rest),
    /// Not supported: buckets, tables and file systems
    #[command(hide = true)]
    Storage(Rest),
    /// Not supported: secrets by Copilot's names
    #[command(hide = true)]
    Secret(Rest),
}

#[derive(clap::Args)]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Refused {
    pub fn run(self) -> Result<ExitCode> {
        let (name, rest, instead) = match self {
            Self::Job(rest) => (
                "job",
                rest,
                "there is no scheduler for jobs here: run `quarry task run` from the one you have (cron, a systemd timer)",
            ),
            Self::Pipeline(rest) => (
                "pipeline",
                rest,
                "there is no CodePipeline here: let your CI run `quarry svc deploy`, which is one command for each service",
            ),
            Self::Storage(rest) => (
                "storage",
                rest,
                "there are no buckets, tables and file systems here: run the database as a service, or reach one \
                 outside (docs/network.md)",
            ),
            Self::Secret(rest) => (
                "secret",
                rest,
                "make the parameter with `aws ssm put-parameter --type SecureString --name NAME --value VALUE` and \
                 name it under `secrets` in the manifest",
            ),
        };
        let typed = [&[name.to_owned()][..], &rest.arguments].concat().join(" ");
        bail!("quarry {typed}: not supported: {instead}")
    }
}
