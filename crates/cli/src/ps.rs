//! `quarry ps`: the tasks that run, with their containers.

use crate::connection::Connection;
use crate::ecs;
use crate::table::{short, table};
use anyhow::Result;
use quarry_aws::ecs::{ListTasksRequest, Task};
use quarry_client::Client;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// `all`: also those that have stopped and are still known.
pub async fn run(connection: &Connection, all: bool, as_json: bool) -> Result<()> {
    let aws = connection.client()?;
    let mut tasks = gather(&aws, "RUNNING").await?;
    if all {
        tasks.extend(gather(&aws, "STOPPED").await?);
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({"tasks": tasks}))?);
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let rows = tasks.into_iter().map(|task| row(task, now));
    let heading = ["TASK", "CLUSTER", "OF", "STATUS", "HEALTH", "SINCE", "CONTAINERS"];
    println!("{}", table(heading, rows));
    Ok(())
}

async fn gather(aws: &Client, status: &str) -> Result<Vec<Task>> {
    let mut found = Vec::new();
    for cluster in ecs::clusters(aws, None).await? {
        let input =
            ListTasksRequest { cluster: Some(cluster), desired_status: Some(status.into()), ..Default::default() };
        found.extend(ecs::tasks(aws, input).await?);
    }
    Ok(found)
}

fn row(task: Task, now: f64) -> [String; 7] {
    let text = |text: Option<String>| text.unwrap_or_default();
    let containers = task.containers.unwrap_or_default().into_iter().map(|container| {
        let code = container.exit_code.map_or(String::new(), |code| format!(" (exit {code})"));
        format!("{}{code}", container.name.unwrap_or_default())
    });
    let since = task.stopped_at.or(task.started_at).or(task.created_at);
    let since = since.map_or(String::new(), |time| age(now - time.as_f64()));
    [
        short(&text(task.task_arn)).to_owned(),
        short(&text(task.cluster_arn)).to_owned(),
        text(task.group),
        text(task.last_status),
        text(task.health_status),
        since,
        containers.collect::<Vec<_>>().join(", "),
    ]
}

/// Seconds as a person reads them.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!([-3.0, 119.0, 120.0, 7200.0, 200_000.0].map(age), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
