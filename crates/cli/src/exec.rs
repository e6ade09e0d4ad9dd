//! `quarry exec`: a command in a container of a running task, by ECS's ExecuteCommand.

use crate::ecs;
use crate::table::short;
use anyhow::{Context, Result, bail};
use quarry_aws::ecs::op::ExecuteCommand;
use quarry_aws::ecs::{ExecuteCommandRequest, ListTasksRequest, Task};
use quarry_client::Client;
use quarry_client::session::{Said, Session};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Read, Write};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub struct Request {
    /// A task's id or ARN, or a service's name.
    pub of: String,
    pub cluster: Option<String>,
    pub container: Option<String>,
    pub command: Vec<String>,
}

pub async fn run(aws: &Client, request: &Request) -> Result<ExitCode> {
    let task = find(aws, request).await?;
    let command = request.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let input = ExecuteCommandRequest {
        cluster: task.cluster_arn,
        task: task.task_arn,
        container: request.container.clone(),
        command: Some(command),
        interactive: Some(true),
    };
    let session = aws.call::<ExecuteCommand>(input).await?.session.context("no session was given")?;
    let terminal = isatty(std::io::stdin()) && isatty(std::io::stdout());
    let wishes = if terminal { "exit-code=on" } else { "terminal=off&exit-code=on" };
    let url = format!("{}&{wishes}", session.stream_url.unwrap_or_default());
    let session = Session::open(&url, &session.token_value.unwrap_or_default()).await?;
    let raw = if terminal { Some(Raw::enter()?) } else { None };
    let outcome = talk(session, terminal).await;
    drop(raw);
    Ok(ExitCode::from(u8::try_from(outcome?).unwrap_or(u8::MAX)))
}

/// Carries what is typed and what is said until the command has ended: its exit code.
async fn talk(mut session: Session, terminal: bool) -> Result<i32> {
    let (mut typed, mut resized) = (typed(), signal(SignalKind::window_change())?);
    let (mut ready, mut more, mut code) = (false, true, None);
    loop {
        tokio::select! {
            message = session.next() => match session.hear(message?).await? {
                None => {}
                Some(Said::Ready) => {
                    ready = true;
                    resize(&mut session, terminal).await?;
                }
                Some(Said::Output(bytes)) => put(std::io::stdout().lock(), &bytes)?,
                Some(Said::Errors(bytes)) => put(std::io::stderr().lock(), &bytes)?,
                Some(Said::ExitCode(told)) => code = Some(told),
                Some(Said::Closed(reason)) => match code {
                    Some(code) => return Ok(code),
                    None if reason.is_empty() => bail!("the session has ended without an exit code"),
                    None => bail!("the session has ended: {reason}"),
                },
            },
            bytes = typed.recv(), if ready && more => match bytes {
                Some(bytes) => session.input(&bytes).await?,
                None => {
                    more = false;
                    session.end().await?;
                }
            },
            _ = resized.recv(), if ready => resize(&mut session, terminal).await?,
        }
    }
}

async fn resize(session: &mut Session, terminal: bool) -> Result<()> {
    if terminal && let Ok(size) = tcgetwinsize(std::io::stdout()) {
        session.resize(size.ws_row.into(), size.ws_col.into()).await?;
    }
    Ok(())
}

fn put(mut to: impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)?;
    Ok(to.flush()?)
}

/// Standard input, from a thread of its own, which is left behind when the command ends.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if to.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    from
}

/// The terminal passes every key on, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// The task that is meant, or the first of the service that takes commands.
pub async fn find(aws: &Client, request: &Request) -> Result<Task> {
    let clusters = ecs::clusters(aws, request.cluster.as_deref()).await?;
    let mut running = Vec::new();
    for cluster in clusters {
        let input = ListTasksRequest { cluster: Some(cluster), ..Default::default() };
        running.extend(ecs::tasks(aws, input).await?);
    }
    let is = |task: &Task| {
        let arn = task.task_arn.as_deref().unwrap_or_default();
        arn == request.of || short(arn) == request.of
    };
    if let Some(at) = running.iter().position(is) {
        return Ok(running.swap_remove(at));
    }
    let group = format!("service:{}", request.of);
    running.retain(|task| task.group.as_deref() == Some(&group));
    running.sort_by_key(|task| {
        (task.enable_execute_command != Some(true), task.last_status.as_deref() != Some("RUNNING"))
    });
    match running.into_iter().next() {
        Some(task) => Ok(task),
        None => bail!("there is no task or service {} with a task: `quarry ls` lists them", request.of),
    }
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_in_a_shell() {
        for (word, line) in [
            ("arn:aws:ecs:us-east-1:0:task/a", "arn:aws:ecs:us-east-1:0:task/a"),
            ("/bin/ls /data", "'/bin/ls /data'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(word), line);
        }
    }
}
