//! Metrics as CloudWatch tells them.

use crate::api::{Api, Data, Told};
use quarry_aws::cloudwatch::op::GetMetricData;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Queries of one call at most.
const AT_ONCE: usize = 500;
/// A datapoint is of so many seconds.
pub const PERIOD: i64 = 60;

/// A metric and what is wanted of it.
#[derive(Clone, Debug)]
pub struct Query {
    pub namespace: String,
    pub name: String,
    pub dimensions: Vec<(String, String)>,
    /// `Sum`, `Average`, `p99` …
    pub statistic: String,
}

/// Points in the order of time: Unix seconds and value.
pub type Series = Vec<(i64, f64)>;

impl Query {
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)], statistic: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: dimensions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            statistic: statistic.to_owned(),
        }
    }

    /// Of a load balancer, and of a target group of it.
    pub fn balancer(name: &str, balancer: &str, group: Option<&str>, statistic: &str) -> Self {
        let group = group.map(|group| ("TargetGroup", group));
        let dimensions: Vec<_> = group.into_iter().chain([("LoadBalancer", balancer)]).collect();
        Self::new("AWS/ApplicationELB", name, &dimensions, statistic)
    }
}

/// The last `minutes` of each, by minutes.
pub async fn last(api: &Api, queries: &[Query], minutes: i64) -> Told<Vec<Series>> {
    over(api, queries, minutes, PERIOD).await
}

/// The last `minutes` of each; a point is of `period` seconds.
pub async fn over(api: &Api, queries: &[Query], minutes: i64, period: i64) -> Told<Vec<Series>> {
    let now = now();
    let mut all = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(AT_ONCE) {
        let asked: Vec<Value> = chunk.iter().enumerate().map(|(i, query)| one(i, query, period)).collect();
        let input = json!({"MetricDataQueries": asked, "StartTime": now - minutes * 60, "EndTime": now, "ScanBy": "TimestampAscending"});
        let results = api.all::<GetMetricData>(input, "MetricDataResults").await?;
        for i in 0..chunk.len() {
            let id = format!("m{i}");
            let mut series = Series::new();
            for result in results.iter().filter(|result| result.text("Id") == id) {
                let times = result.list("Timestamps").iter().filter_map(|at| at.as_f64().map(|at| at as i64));
                series.extend(times.zip(result.list("Values").iter().filter_map(Value::as_f64)));
            }
            series.sort_by_key(|(at, _)| *at);
            all.push(series);
        }
    }
    Ok(all)
}

/// The newest value, if it is of the last three minutes.
pub fn newest(series: &Series) -> Option<f64> {
    series.last().filter(|(at, _)| *at >= now() - 3 * PERIOD).map(|(_, value)| *value)
}

/// The part of an ARN that is a dimension: `app/demo/0123` of a load balancer, `targetgroup/users/0123` of a group.
pub fn dimension(arn: &str) -> &str {
    let last = arn.rsplit(':').next().unwrap_or(arn);
    last.strip_prefix("loadbalancer/").unwrap_or(last)
}

/// Unix seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn one(number: usize, query: &Query, period: i64) -> Value {
    let dimensions: Vec<Value> =
        query.dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
    let metric = json!({"Namespace": query.namespace, "MetricName": query.name, "Dimensions": dimensions});
    let stat = json!({"Metric": metric, "Period": period, "Stat": query.statistic});
    json!({"Id": format!("m{number}"), "MetricStat": stat, "ReturnData": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_the_arns_ends() {
        let arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/demo/0123";
        assert_eq!(dimension(arn), "app/demo/0123");
        assert_eq!(dimension("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/users/4"), "targetgroup/users/4");
    }

    #[test]
    fn old_values_are_not_the_newest() {
        assert_eq!(newest(&vec![(now() - 60, 4.0)]), Some(4.0));
        assert_eq!(newest(&vec![(now() - 3600, 4.0)]), None);
        assert_eq!(newest(&Vec::new()), None);
    }
}
