//! `quarry top`: what the services use, by CloudWatch's metrics, again and again.

use crate::connection::Connection;
use crate::ecs;
use crate::ls::{ServiceRow, services};
use crate::table::table;
use anyhow::Result;
use quarry_aws::cloudwatch::op::GetMetricData;
use quarry_aws::cloudwatch::{Dimension, GetMetricDataInput, Metric, MetricDataQuery, MetricStat};
use quarry_client::Client;
use quarry_wire::Timestamp;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Metrics older than this, in seconds, say nothing about now.
const RECENT: f64 = 300.0;
/// Questions that GetMetricData takes at once.
const AT_ONCE: usize = 500;

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    service: ServiceRow,
    /// Percent of what the service's tasks reserve, in the last minute that is known.
    cpu: Option<f64>,
    memory: Option<f64>,
}

/// On a terminal every `interval`, until interrupted; in a pipe, or with `once`, one time.
pub async fn run(connection: &Connection, interval: Duration, once: bool, json: bool) -> Result<()> {
    let aws = connection.client()?;
    let live = !once && !json && std::io::stdout().is_terminal();
    loop {
        let rows = gather(&aws).await?;
        let mut out = std::io::stdout().lock();
        if live {
            // To the beginning of an empty screen.
            write!(out, "\x1b[2J\x1b[H")?;
        }
        if json {
            writeln!(out, "{}", serde_json::to_string_pretty(&serde_json::json!({"services": rows}))?)?;
        } else {
            let shown = rows.into_iter().map(shown);
            let heading = ["CLUSTER", "SERVICE", "TASKS", "CPU %", "MEMORY %"];
            writeln!(out, "{}", table(heading, shown))?;
        }
        out.flush()?;
        drop(out);
        if !live {
            return Ok(());
        }
        tokio::time::sleep(interval).await;
    }
}

async fn gather(aws: &Client) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for cluster in ecs::clusters(aws, None).await? {
        services(aws, &cluster, &mut found).await?;
    }
    let mut rows: Vec<_> = found.into_iter().map(|service| Row { service, cpu: None, memory: None }).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    for chunk in rows.chunks_mut(AT_ONCE / 2) {
        let queries = chunk.iter().enumerate().flat_map(|(i, row)| {
            [("c", "CPUUtilization"), ("m", "MemoryUtilization")]
                .map(|(id, name)| query(&format!("{id}{i}"), name, row))
        });
        let input = GetMetricDataInput {
            start_time: Timestamp::from_f64(now - RECENT),
            end_time: Timestamp::from_f64(now + 60.0),
            scan_by: Some("TimestampDescending".into()),
            metric_data_queries: Some(queries.collect()),
            ..Default::default()
        };
        for page in aws.paginate::<GetMetricData>(input).await? {
            for result in page.metric_data_results.unwrap_or_default() {
                let value = result.values.and_then(|values| values.first().copied());
                let id = result.id.unwrap_or_default();
                let row = id.get(1..).and_then(|n| n.parse::<usize>().ok()).and_then(|n| chunk.get_mut(n));
                match (row, id.starts_with('c')) {
                    (Some(row), true) => row.cpu = row.cpu.or(value),
                    (Some(row), false) => row.memory = row.memory.or(value),
                    (None, _) => {}
                }
            }
        }
    }
    Ok(rows)
}

fn query(id: &str, name: &str, row: &Row) -> MetricDataQuery {
    let dimension = |name: &str, value: &str| Dimension { name: Some(name.into()), value: Some(value.into()) };
    MetricDataQuery {
        id: Some(id.into()),
        metric_stat: Some(MetricStat {
            metric: Some(Metric {
                namespace: Some("AWS/ECS".into()),
                metric_name: Some(name.into()),
                dimensions: Some(vec![
                    dimension("ClusterName", &row.service.cluster),
                    dimension("ServiceName", &row.service.name),
                ]),
            }),
            period: Some(60),
            stat: Some("Average".into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn shown(row: Row) -> [String; 5] {
    let percent = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    let tasks = format!("{}/{}", row.service.running, row.service.desired);
    [row.service.cluster, row.service.name, tasks, percent(row.cpu), percent(row.memory)]
}
