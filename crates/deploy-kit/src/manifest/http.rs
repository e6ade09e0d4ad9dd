//! `http`: the rules that lead from the load balancer to a service.

use super::container::port;
use super::section::Section;
use super::yaml::{Kind, Node};

/// `http`: the main rule first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub rules: Vec<Rule>,
    /// Seconds in which failing checks do not count.
    pub grace_period: u64,
}

/// A rule and the target group it forwards to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line in the manifest.
    pub line: usize,
    /// Without a leading slash; empty is everything.
    pub path: String,
    /// Names that a request's Host must be one of; empty for any.
    pub aliases: Vec<String>,
    pub allowed_source_ips: Vec<String>,
    pub redirect_to_https: bool,
    pub stickiness: bool,
    pub protocol: Protocol,
    /// The container that gets the requests, if it is not the main one.
    pub target_container: Option<String>,
    pub target_port: Option<u16>,
    pub check: TargetCheck,
    /// Seconds.
    pub deregistration_delay: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The target group's health check; `None` is ELB's default. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetCheck {
    pub path: String,
    pub port: Option<u16>,
    pub success_codes: Option<String>,
    pub healthy_threshold: Option<u64>,
    pub unhealthy_threshold: Option<u64>,
    pub interval: Option<u64>,
    pub timeout: Option<u64>,
}

impl Http {
    /// `None` where there is none, or it is switched off.
    pub(super) fn read(parent: &Section<'_>) -> Option<Self> {
        let node = parent.node("http")?;
        if matches!(&node.kind, Kind::Scalar { text, .. } if text == "false") {
            return None;
        }
        let section = parent.section("http")?;
        let (mut main, grace) = rule(&section);
        if section.node("path").is_none() {
            section.faults.add(
                section.line,
                "http.path",
                "is missing: which requests go to this service ('/' for all)",
            );
        }
        section.refuse(&[("enabled", "write `http: false` to have none")]);
        let mut rules = Vec::new();
        for item in section.list("additional_rules").unwrap_or_default() {
            let Some(inner) = Section::of(section.faults, "http.additional_rules", item) else { continue };
            let mut more = rule(&inner).0;
            more.line = item.line;
            if inner.node("path").is_none() {
                inner.faults.add(
                    inner.line,
                    "http.additional_rules.path",
                    "is missing: which requests this rule is for",
                );
            }
            // What is not said for a rule is as for the main one.
            if inner.node("healthcheck").is_none() {
                more.check = main.check.clone();
            }
            inner.finish();
            rules.push(more);
        }
        main.line = section.line;
        rules.insert(0, main);
        section.finish();
        Some(Self { rules, grace_period: grace })
    }
}

fn rule(section: &Section<'_>) -> (Rule, u64) {
    section.refuse(&[(
        "hosted_zone",
        "no DNS records are made: point the names at the load balancer yourself (`quarry env show` prints its name)",
    )]);
    let protocol = match section.text("version").as_deref() {
        None | Some("http1") => Protocol::Http1,
        Some("http2") => Protocol::Http2,
        Some(other) => {
            section.fault("version", format!("{other:?} is not served: take http1 or http2"));
            Protocol::Http1
        }
    };
    let (check, grace) = target_check(section);
    let rule = Rule {
        line: section.line,
        path: section.text("path").unwrap_or_default().trim_start_matches('/').to_owned(),
        aliases: aliases(section),
        allowed_source_ips: section.texts("allowed_source_ips").unwrap_or_default(),
        redirect_to_https: section.flag("redirect_to_https").unwrap_or(true),
        stickiness: section.flag("stickiness").unwrap_or(false),
        protocol,
        target_container: section.text("target_container").or_else(|| section.text("targetContainer")),
        target_port: port(section, "target_port"),
        check,
        deregistration_delay: section.seconds("deregistration_delay", 0..=3600).unwrap_or(60),
    };
    // ELB's limits of a rule: five values in all its conditions, three of each.
    let paths = if rule.path.is_empty() { 1 } else { 2 };
    let values = paths + rule.aliases.len() + rule.allowed_source_ips.len();
    if values > 5 {
        let message = format!(
            "its path ({paths}), aliases and allowed_source_ips are {values} values, and a rule of a load balancer \
             takes five: give it fewer, or spread them over additional_rules"
        );
        section.faults.add(section.line, &section.path, message);
    }
    for block in &rule.allowed_source_ips {
        if !is_block(block) {
            section.fault("allowed_source_ips", format!("{block:?} is not a block of addresses like 192.0.2.0/24"));
        }
    }
    if rule.path.len() > 126 {
        section.fault("path", "is longer than a load balancer's 128 characters");
    }
    (rule, grace)
}

/// A text, a list of texts, or a list of maps with a `name`.
fn aliases(section: &Section<'_>) -> Vec<String> {
    let Some(node) = section.node("alias") else { return Vec::new() };
    let text = |node: &Node| section.faults.text(&section.at("alias"), node);
    match &node.kind {
        Kind::List(items) => items
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Map(_) => {
                    let inner = Section::of(section.faults, &section.at("alias"), item)?;
                    inner.refuse(&[(
                        "hosted_zone",
                        "no DNS records are made: point the name at the load balancer yourself",
                    )]);
                    let name = inner.text("name");
                    inner.finish();
                    name
                }
                _ => text(item),
            })
            .collect(),
        _ => text(node).map(|names| names.split(',').map(|name| name.trim().to_owned()).collect()).unwrap_or_default(),
    }
}

fn target_check(parent: &Section<'_>) -> (TargetCheck, u64) {
    let mut check = TargetCheck {
        path: "/".into(),
        port: None,
        success_codes: None,
        healthy_threshold: None,
        unhealthy_threshold: None,
        interval: None,
        timeout: None,
    };
    let Some(node) = parent.node("healthcheck") else { return (check, 60) };
    if let Kind::Scalar { text, .. } = &node.kind {
        check.path.clone_from(text);
        if !text.starts_with('/') {
            parent.fault("healthcheck", format!("{text:?} must begin with /"));
        }
        return (check, 60);
    }
    let Some(section) = parent.section("healthcheck") else { return (check, 60) };
    if let Some(path) = section.text("path") {
        if !path.starts_with('/') {
            section.fault("path", format!("{path:?} must begin with /"));
        }
        check.path = path;
    }
    check.port = port(&section, "port");
    check.success_codes = section.text("success_codes");
    check.healthy_threshold = section.number("healthy_threshold", 2..=10);
    check.unhealthy_threshold = section.number("unhealthy_threshold", 2..=10);
    check.interval = section.seconds("interval", 5..=300);
    check.timeout = section.seconds("timeout", 2..=120);
    let grace = section.seconds("grace_period", 0..=2_147_483_647).unwrap_or(60);
    section.finish();
    (check, grace)
}

fn is_block(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    match (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) {
        (Ok(std::net::IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(std::net::IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    }
}
