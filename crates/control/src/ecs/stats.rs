//! `/stats` and `/task/stats` of the task metadata endpoint: what containers use, in the form of Docker's statistics.

use super::records::Task;
use crate::platform::Platform;
use quarry_domain::task::{ContainerStats, NetworkStats};
use quarry_wire::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What was told of a container the last time, to which the next is compared.
pub struct Sample {
    at_ms: i64,
    cpu: Value,
    received: u64,
    sent: u64,
}

/// By container id.
pub type Samples = HashMap<String, Sample>;

/// Samples older than this are of no use, in milliseconds.
const KEPT_MS: i64 = 10 * 60 * 1000;

/// The statistics of the task's containers by their Docker ids; nothing of those that do not run.
pub fn of_task(platform: &Platform, task: &Task) -> Map<String, Value> {
    let seen = platform.runtime.stats(&task.id);
    let shown = task.containers.iter().map(|container| {
        let found = seen.iter().find(|stats| stats.name == container.name);
        let id = container.id.replace('-', "");
        let shown = found.map_or(Value::Null, |stats| show(platform, &id, stats));
        (id, shown)
    });
    shown.collect()
}

fn show(platform: &Platform, id: &str, stats: &ContainerStats) -> Value {
    let now = platform.now_ms();
    let cpu = cpu(stats);
    let sum = |of: fn(&NetworkStats) -> u64| stats.networks.values().map(of).sum::<u64>();
    let (received, sent) = (sum(|n| n.rx_bytes), sum(|n| n.tx_bytes));
    let mut samples = platform.samples.lock().unwrap_or_else(|e| e.into_inner());
    samples.retain(|_, sample| now - sample.at_ms < KEPT_MS);
    let before = samples.insert(id.to_owned(), Sample { at_ms: now, cpu: cpu.clone(), received, sent });
    drop(samples);
    // As Docker has it where nothing was read before.
    let none = || (json!({"cpu_usage": {"total_usage": 0}, "throttling_data": {}}), "0001-01-01T00:00:00Z".to_owned());
    let (cpu_before, read_before) = before
        .as_ref()
        .map_or_else(none, |sample| (sample.cpu.clone(), Timestamp::from_millis(sample.at_ms).to_string()));
    let mut memory = json!({
        "usage": stats.memory, "limit": stats.memory_limit, "stats": stats.memory_details, "failcnt": 0,
    });
    if let Some(peak) = stats.memory_peak {
        memory["max_usage"] = peak.into();
    }
    let mut pids = json!({});
    if let Some(processes) = stats.processes {
        pids["current"] = processes.into();
    }
    if let Some(most) = stats.processes_limit {
        pids["limit"] = most.into();
    }
    let mut shown = json!({
        "read": Timestamp::from_millis(now).to_string(),
        "preread": read_before,
        "id": id,
        "name": format!("/{}", stats.name),
        "num_procs": 0,
        "storage_stats": {},
        "blkio_stats": {},
        "pids_stats": pids,
        "cpu_stats": cpu,
        "precpu_stats": cpu_before,
        "memory_stats": memory,
    });
    if !stats.networks.is_empty() {
        let networks: Map<String, Value> =
            stats.networks.iter().map(|(name, network)| (name.clone(), interface(network))).collect();
        shown["networks"] = networks.into();
        if let Some(before) = before.filter(|before| now > before.at_ms) {
            let rate = |now_bytes: u64, before_bytes: u64| {
                now_bytes.saturating_sub(before_bytes) as f64 * 1000.0 / (now - before.at_ms) as f64
            };
            shown["network_rate_stats"] = json!({
                "rx_bytes_per_sec": rate(received, before.received), "tx_bytes_per_sec": rate(sent, before.sent),
            });
        }
    }
    shown
}

fn cpu(stats: &ContainerStats) -> Value {
    let (periods, throttled, waited) = stats.throttling;
    json!({
        "cpu_usage": {
            "total_usage": stats.cpu_ns,
            "usage_in_usermode": stats.cpu_user_ns.unwrap_or(0),
            "usage_in_kernelmode": stats.cpu_system_ns.unwrap_or(0),
        },
        "system_cpu_usage": stats.machine_cpu_ns,
        "online_cpus": stats.processors,
        "throttling_data": {"periods": periods, "throttled_periods": throttled, "throttled_time": waited},
    })
}

fn interface(network: &NetworkStats) -> Value {
    let NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped } =
        network;
    json!({
        "rx_bytes": rx_bytes, "rx_packets": rx_packets, "rx_errors": rx_errors, "rx_dropped": rx_dropped,
        "tx_bytes": tx_bytes, "tx_packets": tx_packets, "tx_errors": tx_errors, "tx_dropped": tx_dropped,
    })
}
