//! Metrics of the platform itself: what the tasks use, and what the proxies count. Names, units and
//! dimensions are those of AWS/ECS and AWS/ApplicationELB.

use super::store::{Datapoint, Metric};
use crate::autoscaling;
use crate::ecs::records::{ContainerInstance, LastStatus, Task};
use crate::elbv2::uses::uses;
use crate::platform::Platform;
use crate::store::StoreError;
use quarry_domain::link::{Counters, LoadBalancerCounters, TargetGroupCounters, TargetState, bucket_micros};
use quarry_domain::metric::Statistics;
use quarry_domain::task::Usage;
use std::collections::{BTreeMap, HashMap};

/// Gathers between ticks, and gives datapoints to the metric store when their minute is over.
#[derive(Default)]
pub struct Collector {
    /// When the last tick was.
    before_ms: Option<i64>,
    usage: HashMap<String, Usage>,
    /// By proxy.
    counters: BTreeMap<String, Counters>,
    /// By the start of the minute in ms.
    open: BTreeMap<i64, HashMap<(Metric, &'static str), Statistics>>,
}

/// What a tick saw. Amounts are of the time since the tick before.
#[derive(Default)]
struct Sample {
    /// Like a percentage: holds for the whole time.
    levels: Vec<(Metric, &'static str, f64)>,
    /// Like a number of requests: spread evenly over the time.
    amounts: Vec<(Metric, &'static str, f64)>,
    /// Like the times of many requests: as many of them as there is time.
    values: Vec<(Metric, &'static str, Statistics)>,
}

/// Without CPU units a container gets the kernel's least share, as on ECS.
const LEAST_CPU: u32 = 2;

impl Collector {
    /// Looks at everything, and records what is complete. Minutes last `minute_ms`.
    pub fn tick(&mut self, platform: &Platform, minute_ms: i64) -> Result<(), StoreError> {
        let now = platform.now_ms();
        let before = self.before_ms.replace(now);
        let mut sample = Sample::default();
        self.tasks(platform, before.map(|before| now - before), &mut sample)?;
        self.balancers(platform, before.is_none(), &mut sample)?;
        if let Some(before) = before.filter(|before| *before < now) {
            self.spread(before, now, minute_ms, sample);
        }
        let end = now.div_euclid(minute_ms) * minute_ms;
        let rest = self.open.split_off(&end);
        let done = std::mem::replace(&mut self.open, rest);
        let fine = minute_ms < 60_000;
        let points: Vec<Datapoint> = done
            .into_iter()
            .flat_map(|(at_ms, all)| all.into_iter().map(move |(key, statistics)| (at_ms, key, statistics)))
            .map(|(at_ms, (metric, unit), statistics)| Datapoint { metric, unit, at_ms, fine, statistics })
            .collect();
        if !platform.metrics.record(&points)? {
            tracing::warn!("the metric store is full: no metrics of the platform are kept");
        }
        Ok(())
    }

    /// Puts a sample into the minutes it is of.
    fn spread(&mut self, before: i64, now: i64, minute_ms: i64, sample: Sample) {
        let first = before.div_euclid(minute_ms) * minute_ms;
        // After a standstill (the machine slept, say) only the last while is told of.
        let first = first.max(now.div_euclid(minute_ms) * minute_ms - 60 * minute_ms);
        for start in (first..now).step_by(minute_ms as usize) {
            let overlap = (start + minute_ms).min(now) - start.max(before);
            if overlap <= 0 {
                continue;
            }
            let share = overlap as f64 / (now - before) as f64;
            let open = self.open.entry(start).or_default();
            for (metric, unit, level) in &sample.levels {
                open.entry((metric.clone(), unit)).or_default().add(&Statistics::of(*level, 1.0));
            }
            for (metric, unit, amount) in &sample.amounts {
                open.entry((metric.clone(), unit)).or_default().add(&Statistics::of(amount * share, 1.0));
            }
            for (metric, unit, values) in &sample.values {
                open.entry((metric.clone(), unit)).or_default().add(&values.share(share));
            }
        }
    }

    /// CPUUtilization and MemoryUtilization of services and clusters, in percent of what is reserved.
    fn tasks(&mut self, platform: &Platform, since_ms: Option<i64>, sample: &mut Sample) -> Result<(), StoreError> {
        let (tasks, instances, groups) = platform.store.read(|tx| {
            Ok::<_, StoreError>((
                tx.shared::<Task>()?,
                tx.all::<ContainerInstance>()?,
                autoscaling::groups_of_instances(tx)?,
            ))
        })?;
        let mut seen = HashMap::new();
        // CPU units and bytes in use, by cluster.
        let mut used: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        // CPU units in use, by container instance.
        let mut on: HashMap<&str, f64> = HashMap::new();
        for task in tasks.iter().filter(|task| task.status == LastStatus::Running) {
            let Some(usage) = platform.runtime.usage(&task.id) else { continue };
            seen.insert(task.id.clone(), usage);
            let Some((before, ms)) = self.usage.get(&task.id).zip(since_ms.filter(|ms| *ms > 0)) else { continue };
            let cores = usage.cpu_ns.saturating_sub(before.cpu_ns) as f64 / (ms as f64 * 1e6);
            let units = cores * 1024.0;
            let of_cluster = used.entry(&task.cluster_arn).or_default();
            of_cluster.0 += units;
            of_cluster.1 += usage.memory_bytes as f64;
            if let Some(instance) = &task.container_instance_arn {
                *on.entry(instance).or_default() += units;
            }
            let Some((service, _)) = &task.service else { continue };
            let dimensions = [("ClusterName", last(&task.cluster_arn)), ("ServiceName", last(service))];
            let mut level = |name, value| {
                sample.levels.push((Metric::new("AWS/ECS", name, &dimensions), "Percent", value));
            };
            level("CPUUtilization", units / f64::from(task.demand.cpu.max(LEAST_CPU)) * 100.0);
            if task.demand.memory > 0 {
                let reserved = f64::from(task.demand.memory) * f64::from(1 << 20);
                level("MemoryUtilization", usage.memory_bytes as f64 / reserved * 100.0);
            }
        }
        let mut capacity: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for instance in &instances {
            let of_cluster = capacity.entry(&instance.cluster_arn).or_default();
            of_cluster.0 += f64::from(instance.cpu);
            of_cluster.1 += f64::from(instance.memory) * f64::from(1 << 20);
            // What runs on an instance are its tasks alone.
            if let Some(group) = groups.get(&instance.ec2_instance_id).filter(|_| since_ms.is_some()) {
                let used = on.get(instance.arn.as_str()).copied().unwrap_or(0.0) / f64::from(instance.cpu.max(1));
                for dimension in [("AutoScalingGroupName", group.as_str()), ("InstanceId", &instance.ec2_instance_id)] {
                    sample.levels.push((
                        Metric::new("AWS/EC2", "CPUUtilization", &[dimension]),
                        "Percent",
                        used * 100.0,
                    ));
                }
            }
        }
        for (cluster, (cpu, memory)) in capacity {
            let Some((units, bytes)) = used.get(cluster) else { continue };
            for (name, part, whole) in [("CPUUtilization", units, cpu), ("MemoryUtilization", bytes, memory)] {
                if whole > 0.0 {
                    let metric = Metric::new("AWS/ECS", name, &[("ClusterName", last(cluster))]);
                    sample.levels.push((metric, "Percent", part / whole * 100.0));
                }
            }
        }
        self.usage = seen;
        Ok(())
    }

    /// The metrics of load balancers and target groups. What a proxy counted before `first` is past.
    fn balancers(&mut self, platform: &Platform, first: bool, sample: &mut Sample) -> Result<(), StoreError> {
        let (counters, healthy) = {
            let live = platform.live();
            let mut healthy: BTreeMap<String, (u32, u32)> = BTreeMap::new();
            for ((group, _), report) in &live.targets {
                let counts = healthy.entry(group.clone()).or_default();
                match report.state {
                    TargetState::Healthy | TargetState::Unavailable => counts.0 += 1,
                    TargetState::Unhealthy | TargetState::Initial => counts.1 += 1,
                    TargetState::Unused | TargetState::Draining => {}
                }
            }
            (live.counters.clone(), healthy)
        };
        let mut balancers: BTreeMap<String, LoadBalancerCounters> = BTreeMap::new();
        let mut groups: BTreeMap<String, TargetGroupCounters> = BTreeMap::new();
        for (proxy, now) in &counters {
            let before = self.counters.get(proxy);
            if first && before.is_none() {
                continue;
            }
            for (arn, now) in &now.load_balancers {
                let before = before.and_then(|b| b.load_balancers.get(arn));
                rise_balancer(balancers.entry(arn.clone()).or_default(), before, now);
            }
            for (arn, now) in &now.target_groups {
                let before = before.and_then(|b| b.target_groups.get(arn));
                rise_group(groups.entry(arn.clone()).or_default(), before, now);
            }
        }
        self.counters = counters;
        if balancers.is_empty() && groups.is_empty() {
            return Ok(());
        }
        let uses = platform.store.read(uses)?;
        for (arn, counted) in &balancers {
            let of_groups = uses.iter().filter(|(_, balancers)| balancers.contains(arn)).map(|(group, _)| group);
            let mut targets = TargetGroupCounters::default();
            of_groups.filter_map(|group| groups.get(group)).for_each(|g| rise_group(&mut targets, None, g));
            let dimensions = [("LoadBalancer", suffix(arn, "loadbalancer/"))];
            balancer_metrics(sample, &dimensions, counted);
            target_metrics(sample, &dimensions, &targets);
        }
        for (arn, counted) in &groups {
            for balancer in uses.get(arn).into_iter().flatten() {
                let load_balancer = ("LoadBalancer", suffix(balancer, "loadbalancer/"));
                let target_group = ("TargetGroup", suffix(arn, ""));
                let dimensions = [load_balancer, target_group];
                let (well, ill) = healthy.get(arn).copied().unwrap_or_default();
                let mut level = |name, n: u32| {
                    sample.levels.push((metric(name, &dimensions), "Count", f64::from(n)));
                };
                level("HealthyHostCount", well);
                level("UnHealthyHostCount", ill);
                sample.count("RequestCount", &dimensions, counted.request_count);
                target_metrics(sample, &dimensions, counted);
                let each = counted.request_count as f64 / f64::from(well.max(1));
                for dimensions in [&dimensions[..], &[target_group][..]] {
                    sample.amounts.push((metric("RequestCountPerTarget", dimensions), "Count", each));
                }
            }
        }
        Ok(())
    }
}

impl Sample {
    /// A number of events; where there were none nothing is told, as of AWS.
    fn count(&mut self, name: &str, dimensions: &[(&str, &str)], n: u64) {
        if n > 0 {
            self.amounts.push((metric(name, dimensions), "Count", n as f64));
        }
    }
}

fn metric(name: &str, dimensions: &[(&str, &str)]) -> Metric {
    Metric::new("AWS/ApplicationELB", name, dimensions)
}

fn balancer_metrics(sample: &mut Sample, dimensions: &[(&str, &str)], c: &LoadBalancerCounters) {
    sample.count("RequestCount", dimensions, c.request_count);
    sample.count("NewConnectionCount", dimensions, c.new_connection_count);
    sample.count("HTTPCode_ELB_3XX_Count", dimensions, c.elb_3xx);
    sample.count("HTTPCode_ELB_4XX_Count", dimensions, c.elb_4xx);
    sample.count("HTTPCode_ELB_5XX_Count", dimensions, c.elb_5xx);
    sample.count("HTTPCode_ELB_502_Count", dimensions, c.elb_502);
    sample.count("HTTPCode_ELB_503_Count", dimensions, c.elb_503);
    sample.count("HTTPCode_ELB_504_Count", dimensions, c.elb_504);
    sample.count("DesyncMitigationMode_NonCompliant_Request_Count", dimensions, c.desync_non_compliant);
    sample.count("HTTPCode_ELB_500_Count", dimensions, c.elb_500);
    sample.count("RuleEvaluations", dimensions, c.rule_evaluations);
    sample.count("HTTP_Fixed_Response_Count", dimensions, c.fixed_responses);
    sample.count("HTTP_Redirect_Count", dimensions, c.redirects);
    sample.count("HTTP_Redirect_Url_Limit_Exceeded_Count", dimensions, c.redirect_url_limit_exceeded);
    sample.count("ClientTLSNegotiationErrorCount", dimensions, c.client_tls_errors);
    sample.count("RejectedConnectionCount", dimensions, c.rejected_connections);
    sample.count("DroppedInvalidHeaderRequestCount", dimensions, c.dropped_invalid_headers);
    if c.active_connection_count > 0 {
        let level = c.active_connection_count as f64;
        sample.levels.push((metric("ActiveConnectionCount", dimensions), "Count", level));
    }
    if c.processed_bytes > 0 {
        sample.amounts.push((metric("ProcessedBytes", dimensions), "Bytes", c.processed_bytes as f64));
    }
}

fn target_metrics(sample: &mut Sample, dimensions: &[(&str, &str)], c: &TargetGroupCounters) {
    sample.count("HTTPCode_Target_2XX_Count", dimensions, c.target_2xx);
    sample.count("HTTPCode_Target_3XX_Count", dimensions, c.target_3xx);
    sample.count("HTTPCode_Target_4XX_Count", dimensions, c.target_4xx);
    sample.count("HTTPCode_Target_5XX_Count", dimensions, c.target_5xx);
    sample.count("TargetConnectionErrorCount", dimensions, c.connection_errors);
    sample.count("TargetTLSNegotiationErrorCount", dimensions, c.tls_errors);
    sample.count("NonStickyRequestCount", dimensions, c.non_sticky);
    sample.count("UnhealthyRoutingRequestCount", dimensions, c.unhealthy_routing);
    let mut times = Statistics::default();
    for (bucket, n) in &c.response_times {
        times.add(&Statistics::of(bucket_micros(*bucket) / 1e6, *n as f64));
    }
    if times.count > 0.0 {
        // The average is of what was measured, not of the buckets.
        times.sum = c.response_time_micros as f64 / 1e6;
        sample.values.push((metric("TargetResponseTime", dimensions), "Seconds", times));
    }
}

/// Adds what was counted since `before`. A counter that fell was begun anew.
fn rise(sum: &mut u64, before: Option<u64>, now: u64) {
    *sum += match before {
        Some(before) if before <= now => now - before,
        _ => now,
    };
}

fn rise_balancer(sum: &mut LoadBalancerCounters, before: Option<&LoadBalancerCounters>, now: &LoadBalancerCounters) {
    macro_rules! rise_all {
        ($($field:ident)*) => { $(rise(&mut sum.$field, before.map(|b| b.$field), now.$field);)* };
    }
    rise_all!(request_count new_connection_count processed_bytes elb_3xx elb_4xx elb_5xx elb_502 elb_503 elb_504 desync_non_compliant
        rule_evaluations fixed_responses redirects redirect_url_limit_exceeded client_tls_errors rejected_connections
        dropped_invalid_headers elb_500 log_lines_dropped);
    sum.active_connection_count += now.active_connection_count;
}

fn rise_group(sum: &mut TargetGroupCounters, before: Option<&TargetGroupCounters>, now: &TargetGroupCounters) {
    macro_rules! rise_all {
        ($($field:ident)*) => { $(rise(&mut sum.$field, before.map(|b| b.$field), now.$field);)* };
    }
    rise_all!(request_count target_2xx target_3xx target_4xx target_5xx connection_errors tls_errors non_sticky
        unhealthy_routing response_time_micros);
    let mut buckets: BTreeMap<u16, u64> = sum.response_times.iter().copied().collect();
    for (bucket, n) in &now.response_times {
        let before = before.and_then(|b| b.response_times.iter().find(|(at, _)| at == bucket)).map(|(_, n)| *n);
        rise(buckets.entry(*bucket).or_default(), before, *n);
    }
    sum.response_times = buckets.into_iter().filter(|(_, n)| *n > 0).collect();
}

/// The part of a load balancer's or target group's ARN that its metrics' dimensions have.
fn suffix<'a>(arn: &'a str, before: &str) -> &'a str {
    let resource = quarry_domain::arn::resource_part(arn);
    resource.strip_prefix(before).unwrap_or(resource)
}

fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
