//! A command in a container on AWS. Its session is Session Manager's, which the aws CLI opens with its
//! session-manager-plugin (AWS's documentation, "Monitor Amazon ECS containers with ECS Exec").

use crate::copilot::session::Session;
use crate::exec::quoted;
use crate::table::short;
use anyhow::{Error, anyhow};
use quarry_aws::ecs::Task;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const PLUGIN: &str = "session-manager-plugin";
const INSTALL_AWS: &str = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html";
const INSTALL_PLUGIN: &str =
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html";

/// Becomes the aws CLI that runs the command, whose exit code is the program's then; why it could not.
pub fn exec(session: &Session, task: &Task, container: &str, command: &str) -> Error {
    let words = words(session, task, container, command);
    let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    for (program, page) in [("aws", INSTALL_AWS), (PLUGIN, INSTALL_PLUGIN)] {
        if !is_there(program) {
            return anyhow!(
                "on AWS the aws CLI runs commands in containers, with {PLUGIN}, and {program} is not here: install it \
                 ({page}), or run this where both are:\n  {line}"
            );
        }
    }
    let mut aws = Command::new("aws");
    aws.args(&words[1..]);
    // This machine's Quarry may be in the environment, and is not meant.
    let own = session.home_endpoint().trim_end_matches('/');
    for (name, value) in std::env::vars() {
        if name.starts_with("AWS_ENDPOINT_URL") && value.trim_end_matches('/') == own {
            aws.env_remove(name);
        }
    }
    Error::new(aws.exec()).context(format!("cannot run {line}"))
}

fn words(session: &Session, task: &Task, container: &str, command: &str) -> Vec<String> {
    let mut words = ["aws", "ecs", "execute-command", "--region", session.region()].map(str::to_owned).to_vec();
    for (option, value) in [("--profile", session.profile()), ("--endpoint-url", session.endpoint())] {
        words.extend(value.map(|value| [option.to_owned(), value.to_owned()]).into_iter().flatten());
    }
    let named = |arn: &Option<String>| short(arn.as_deref().unwrap_or_default()).to_owned();
    words.extend(["--cluster".to_owned(), named(&task.cluster_arn), "--task".to_owned(), named(&task.task_arn)]);
    words.extend(["--container", container, "--interactive", "--command", command].map(str::to_owned));
    words
}

/// Whether a program of this name is on the PATH.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let can_run = |metadata: std::fs::Metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    std::env::split_paths(&path).any(|dir| std::fs::metadata(dir.join(program)).is_ok_and(can_run))
}
