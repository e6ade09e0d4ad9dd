//! An environment's manifest.

use super::count::range;
use super::section::{Faults, Section};
use super::yaml::Node;
use super::{Problems, Reading, prepared};

/// An environment: a network, a cluster, a load balancer for its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: String,
    pub cidr: String,
    pub public: Vec<Subnet>,
    pub private: Vec<Subnet>,
    /// ARNs; with one of them the load balancer has an HTTPS listener.
    pub certificates: Vec<String>,
    pub ssl_policy: Option<String>,
    /// Blocks from which the load balancer is reached; empty for any.
    pub source_ips: Vec<String>,
    pub container_insights: bool,
    /// `container_instances`, which Copilot's manifests do not have.
    pub instances: Option<Instances>,
}

/// Container instances, for services with the launch type EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// `t3.medium`
    pub kind: String,
    /// How many there are: as many as the tasks need, within these.
    pub min: u64,
    pub max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub cidr: String,
    /// The name of an availability zone; by position without one.
    pub az: Option<String>,
}

impl Environment {
    /// An environment as it is without a manifest.
    pub fn new(name: &str) -> Self {
        let subnets = |all: [&str; 2]| all.map(|cidr| Subnet { cidr: cidr.into(), az: None }).to_vec();
        Self {
            name: name.into(),
            cidr: "10.0.0.0/16".into(),
            public: subnets(["10.0.0.0/24", "10.0.1.0/24"]),
            private: subnets(["10.0.2.0/24", "10.0.3.0/24"]),
            certificates: Vec::new(),
            ssl_policy: None,
            source_ips: Vec::new(),
            container_insights: false,
            instances: None,
        }
    }

    /// Reads a manifest. `file`: its name in errors.
    ///
    /// # Errors
    /// Everything in it that is wrong or not served, each with its line.
    pub fn read(file: &str, text: &str, reading: &Reading) -> Result<Self, Problems> {
        let faults = Faults::new(file);
        let node = prepared(&faults, text, reading);
        let environment = node.as_ref().and_then(|node| top(&faults, node));
        faults.judge()?;
        environment.ok_or_else(|| Problems(Vec::new()))
    }
}

fn top(faults: &Faults, node: &Node) -> Option<Environment> {
    let section = Section::of(faults, "", node)?;
    match section.text("type").as_deref() {
        Some("Environment") => {}
        other => section.fault("type", format!("must be Environment, and is {:?}", other.unwrap_or_default())),
    }
    let mut environment = Environment::new(&section.text("name").unwrap_or_default());
    if !super::service::is_service_name(&environment.name) {
        section.fault("name", "is no name of an environment: small letters, digits and dashes, a letter first");
    }
    section.refuse(&[("cdn", "there is no CloudFront: the load balancer is reached directly")]);
    if let Some(network) = section.section("network") {
        if let Some(vpc) = network.section("vpc") {
            read_vpc(&vpc, &mut environment);
            vpc.finish();
        }
        network.finish();
    }
    if let Some(http) = section.section("http") {
        http.refuse(&[("private", "internal load balancers are not supported")]);
        if let Some(public) = http.section("public") {
            public.refuse(&[
                ("access_logs", "turn them on with `aws elbv2 modify-load-balancer-attributes`"),
                ("security_groups", "restrict who connects by http.public.ingress.source_ips"),
            ]);
            environment.certificates = public.texts("certificates").unwrap_or_default();
            environment.ssl_policy = public.text("ssl_policy");
            if let Some(ingress) = public.section("ingress") {
                ingress.refuse(&[("cdn", "there is no CloudFront")]);
                environment.source_ips = ingress.texts("source_ips").unwrap_or_default();
                ingress.finish();
            }
            public.finish();
        }
        http.finish();
    }
    if let Some(observability) = section.section("observability") {
        environment.container_insights = observability.flag("container_insights").unwrap_or(false);
        observability.finish();
    }
    environment.instances = section.section("container_instances").and_then(|inner| {
        let (kind, range) = (inner.text("type").unwrap_or_else(|| "t3.medium".into()), range(&inner));
        if inner.node("range").is_none() {
            inner.faults.add(inner.line, &inner.at("range"), "is missing: between which numbers of instances, as 1-3");
        }
        if range.as_ref().is_some_and(|range| range.spot_from.is_some()) {
            inner.fault("range", "spot_from is of tasks");
        }
        inner.finish();
        let range = range?;
        Some(Instances { kind, min: range.min, max: range.max })
    });
    section.finish();
    Some(environment)
}

fn read_vpc(vpc: &Section<'_>, environment: &mut Environment) {
    vpc.refuse(&[
        ("id", "networks that are there cannot be imported: leave it out, and the environment gets one of its own"),
        ("security_group", "add rules to the environment's group with `aws ec2 authorize-security-group-ingress`"),
        ("flow_logs", "no flow logs are written"),
    ]);
    if let Some(cidr) = vpc.text("cidr") {
        environment.cidr = cidr;
    }
    let Some(subnets) = vpc.section("subnets") else { return };
    for (name, into) in [("public", &mut environment.public), ("private", &mut environment.private)] {
        let Some(items) = subnets.list(name) else { continue };
        let read = |item| {
            let subnet = Section::of(subnets.faults, &subnets.at(name), item)?;
            subnet.refuse(&[("id", "networks that are there cannot be imported: give cidr")]);
            let (cidr, az) = (subnet.text("cidr"), subnet.text("az"));
            if cidr.is_none() {
                subnet.faults.add(subnet.line, &subnet.at("cidr"), "is missing");
            }
            subnet.finish();
            Some(Subnet { cidr: cidr?, az })
        };
        *into = items.iter().filter_map(read).collect();
        if into.len() < 2 {
            subnets.fault(name, "a load balancer needs two subnets, in two availability zones");
        }
    }
    subnets.finish();
}
