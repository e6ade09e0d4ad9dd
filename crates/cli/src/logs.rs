//! `quarry logs`: what a service's containers wrote, from CloudWatch Logs.

use crate::ecs;
use crate::table::short;
use anyhow::{Context, Result, bail};
use quarry_aws::ecs::op::{DescribeServices, DescribeTaskDefinition};
use quarry_aws::ecs::{DescribeServicesRequest, DescribeTaskDefinitionRequest, Service};
use quarry_aws::logs::op::FilterLogEvents;
use quarry_aws::logs::{FilterLogEventsRequest, FilteredLogEvent};
use quarry_client::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// How often new lines are asked for.
const PAUSE: Duration = Duration::from_millis(500);
/// A line may come so much later than others of its time, in milliseconds: on AWS they come in batches of 5 s.
const LATE: i64 = 10_000;

pub struct Request {
    pub service: String,
    pub cluster: Option<String>,
    pub follow: bool,
    /// A filter pattern of CloudWatch Logs.
    pub filter: Option<String>,
    pub json: bool,
}

/// A log group, and what the names of a container's streams in it begin with.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    group: String,
    prefix: String,
}

/// What was shown of a log that is asked for again and again: ids and times of the lines that may come once more.
#[derive(Default)]
pub struct Shown(BTreeMap<String, i64>);

impl Shown {
    /// From when on there may be new lines, in milliseconds since 1970; `None` from the first on.
    pub fn since(&mut self) -> Option<i64> {
        let since = self.0.values().max().map(|newest| (newest - LATE).max(0));
        self.0.retain(|_, at| Some(*at) >= since);
        since
    }

    /// Whether a line has not been shown; from now on it has.
    pub fn is_new(&mut self, event: &FilteredLogEvent) -> bool {
        let at = event.timestamp.unwrap_or_default();
        self.0.insert(event.event_id.clone().unwrap_or_default(), at).is_none()
    }
}

pub async fn run(aws: &Client, request: &Request) -> Result<()> {
    let service = find(aws, request).await?;
    let sources = sources(aws, &service).await?;
    let mut shown = Shown::default();
    loop {
        let (mut found, since) = (Vec::new(), shown.since());
        for source in &sources {
            found.extend(events(aws, source, request.filter.as_ref(), since).await?);
        }
        found.sort_by_key(|event| event.timestamp);
        for event in found {
            if shown.is_new(&event) {
                print(&event, request.json)?;
            }
        }
        if !request.follow {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn find(aws: &Client, request: &Request) -> Result<Service> {
    let clusters = ecs::clusters(aws, request.cluster.as_deref()).await?;
    let mut found = Vec::new();
    for cluster in &clusters {
        let input = DescribeServicesRequest {
            cluster: Some(cluster.clone()),
            services: Some(vec![request.service.clone()]),
            ..Default::default()
        };
        found.extend(aws.call::<DescribeServices>(input).await?.services.unwrap_or_default());
    }
    found.retain(|s| s.status.as_deref() != Some("INACTIVE"));
    if found.len() > 1 {
        let names: Vec<_> = found.iter().filter_map(|s| s.cluster_arn.as_deref()).map(short).collect();
        bail!("several clusters have a service {}: say which with --cluster ({})", request.service, names.join(", "));
    }
    found.pop().with_context(|| format!("there is no service {}: `quarry ls` lists them", request.service))
}

async fn sources(aws: &Client, service: &Service) -> Result<BTreeSet<Source>> {
    let input =
        DescribeTaskDefinitionRequest { task_definition: service.task_definition.clone(), ..Default::default() };
    let described = aws.call::<DescribeTaskDefinition>(input).await?;
    let definition = described.task_definition.context("the service has no task definition")?;
    let mut sources = BTreeSet::new();
    for container in definition.container_definitions.unwrap_or_default() {
        let Some(log) = container.log_configuration else { continue };
        let options = log.options.unwrap_or_default();
        if let (Some("awslogs"), Some(group)) = (log.log_driver.as_deref(), options.get("awslogs-group")) {
            let name = container.name.unwrap_or_default();
            let prefix = options.get("awslogs-stream-prefix").map_or(String::new(), |p| format!("{p}/{name}/"));
            sources.insert(Source { group: group.clone(), prefix });
        }
    }
    if sources.is_empty() {
        bail!(
            "no container of {} has a logConfiguration with the awslogs driver: add one to its task definition",
            service.service_name.as_deref().unwrap_or_default()
        );
    }
    Ok(sources)
}

async fn events(
    aws: &Client,
    source: &Source,
    filter: Option<&String>,
    since: Option<i64>,
) -> Result<Vec<FilteredLogEvent>> {
    let input = FilterLogEventsRequest {
        log_group_name: Some(source.group.clone()),
        log_stream_name_prefix: Some(source.prefix.clone()).filter(|p| !p.is_empty()),
        filter_pattern: filter.cloned(),
        start_time: since,
        ..Default::default()
    };
    let pages = aws.paginate::<FilterLogEvents>(input).await?;
    Ok(pages.into_iter().flat_map(|p| p.events.unwrap_or_default()).collect())
}

fn print(event: &FilteredLogEvent, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(event)?)?;
    } else {
        let stream = event.log_stream_name.as_deref().unwrap_or_default();
        writeln!(out, "{}  {}", short(stream), event.message.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_late_is_shown_and_none_is_twice() {
        let line =
            |id: &str, at| FilteredLogEvent { event_id: Some(id.into()), timestamp: Some(at), ..Default::default() };
        let mut shown = Shown::default();
        assert_eq!(shown.since(), None);
        assert!(shown.is_new(&line("old", 0)) && shown.is_new(&line("first", 100_000)));
        let since = shown.since().unwrap();
        assert!(since > 0 && since <= 100_000 - 5_000, "the lines of a batch of AWS's come within it");
        assert!(shown.is_new(&line("late", since)) && !shown.is_new(&line("first", 100_000)));
        assert!(!shown.is_new(&line("late", since)));
        assert_eq!(shown.0.len(), 2, "what is not asked for again is forgotten");
    }
}
