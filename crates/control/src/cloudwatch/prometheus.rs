//! The platform's counters as text for Prometheus: what the proxies count, and what tasks use.

use crate::ecs::records::{LastStatus, Service, Task};
use crate::platform::Platform;
use crate::store::StoreError;
use quarry_domain::link::TargetState;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// `text/plain; version=0.0.4`: every family with its type, in a fixed order.
pub fn text(platform: &Platform) -> Result<String, StoreError> {
    let mut page = Page::default();
    proxies(platform, &mut page);
    let (services, tasks) =
        platform.store.read(|tx| Ok::<_, StoreError>((tx.shared::<Service>()?, tx.shared::<Task>()?)))?;
    let mut running: HashMap<&str, u32> = HashMap::new();
    for task in tasks.iter().filter(|task| task.status == LastStatus::Running) {
        if let Some((service, _)) = &task.service {
            *running.entry(service).or_default() += 1;
        }
    }
    for service in services.iter() {
        let labels = [("cluster", last(&service.cluster_arn)), ("service", service.name.as_str())];
        page.add("quarry_service_desired_tasks", "gauge", &labels, f64::from(service.desired_count));
        let running = running.get(service.arn.as_str()).copied().unwrap_or(0);
        page.add("quarry_service_running_tasks", "gauge", &labels, f64::from(running));
    }
    for task in tasks.iter().filter(|task| task.status == LastStatus::Running) {
        let Some(usage) = platform.runtime.usage(&task.id) else { continue };
        let group = task.group.as_str();
        let labels = [("cluster", last(&task.cluster_arn)), ("group", group), ("task", task.id.as_str())];
        page.add("quarry_task_cpu_seconds_total", "counter", &labels, usage.cpu_ns as f64 / 1e9);
        page.add("quarry_task_memory_bytes", "gauge", &labels, usage.memory_bytes as f64);
    }
    Ok(page.finish())
}

fn proxies(platform: &Platform, page: &mut Page) {
    let live = platform.live();
    for (proxy, counters) in &live.counters {
        for (arn, c) in &counters.load_balancers {
            let labels = [("load_balancer", resource(arn)), ("proxy", proxy.as_str())];
            for (name, n) in [
                ("requests", c.request_count),
                ("connections", c.new_connection_count),
                ("bytes", c.processed_bytes),
                ("desync_non_compliant_requests", c.desync_non_compliant),
                ("rule_evaluations", c.rule_evaluations),
                ("fixed_responses", c.fixed_responses),
                ("redirects", c.redirects),
                ("redirect_url_limit_exceeded", c.redirect_url_limit_exceeded),
                ("client_tls_negotiation_errors", c.client_tls_errors),
                ("rejected_connections", c.rejected_connections),
                ("dropped_invalid_header_requests", c.dropped_invalid_headers),
                ("log_lines_dropped", c.log_lines_dropped),
            ] {
                page.add(&format!("quarry_load_balancer_{name}_total"), "counter", &labels, n as f64);
            }
            let active = c.active_connection_count as f64;
            page.add("quarry_load_balancer_active_connections", "gauge", &labels, active);
            for (code, n) in [("3xx", c.elb_3xx), ("4xx", c.elb_4xx), ("5xx", c.elb_5xx)] {
                let labels = [labels[0], labels[1], ("code", code)];
                page.add("quarry_load_balancer_own_responses_total", "counter", &labels, n as f64);
            }
        }
        for (arn, c) in &counters.target_groups {
            let labels = [("target_group", resource(arn)), ("proxy", proxy.as_str())];
            page.add("quarry_target_group_requests_total", "counter", &labels, c.request_count as f64);
            let errors = c.connection_errors as f64;
            page.add("quarry_target_group_connection_errors_total", "counter", &labels, errors);
            for (name, n) in [
                ("tls_negotiation_errors", c.tls_errors),
                ("non_sticky_requests", c.non_sticky),
                ("unhealthy_routing_requests", c.unhealthy_routing),
            ] {
                page.add(&format!("quarry_target_group_{name}_total"), "counter", &labels, n as f64);
            }
            let seconds = c.response_time_micros as f64 / 1e6;
            page.add("quarry_target_group_response_seconds_total", "counter", &labels, seconds);
            for (code, n) in
                [("2xx", c.target_2xx), ("3xx", c.target_3xx), ("4xx", c.target_4xx), ("5xx", c.target_5xx)]
            {
                let labels = [labels[0], labels[1], ("code", code)];
                page.add("quarry_target_group_responses_total", "counter", &labels, n as f64);
            }
        }
    }
    let mut states: BTreeMap<(&str, &'static str), u32> = BTreeMap::new();
    for ((group, _), report) in &live.targets {
        let state = match report.state {
            TargetState::Initial => "initial",
            TargetState::Healthy => "healthy",
            TargetState::Unhealthy => "unhealthy",
            TargetState::Unused => "unused",
            TargetState::Draining => "draining",
            TargetState::Unavailable => "unavailable",
        };
        *states.entry((resource(group), state)).or_default() += 1;
    }
    for ((group, state), n) in states {
        page.add("quarry_targets", "gauge", &[("target_group", group), ("state", state)], f64::from(n));
    }
}

#[derive(Default)]
struct Page {
    /// By family: its type, and its lines.
    families: BTreeMap<String, (&'static str, String)>,
}

impl Page {
    fn add(&mut self, family: &str, kind: &'static str, labels: &[(&str, &str)], value: f64) {
        let (_, lines) = self.families.entry(family.to_owned()).or_insert_with(|| (kind, String::new()));
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(lines, "{family}{{{}}} {value}", labels.join(","));
    }

    fn finish(self) -> String {
        let mut text = String::new();
        for (family, (kind, lines)) in self.families {
            let _ = write!(text, "# TYPE {family} {kind}\n{lines}");
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn resource(arn: &str) -> &str {
    quarry_domain::arn::resource_part(arn)
}

fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
