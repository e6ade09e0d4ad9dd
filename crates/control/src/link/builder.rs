//! Keeps the content of the snapshot as it would be made of all that is stored, by looking only at what was written.
//!
//! What is written is known by its kind and key: each kind that a snapshot is made of marks the parts that may differ now,
//! and those are made anew. Rare things that many parts depend on mark everything.

use super::content::{Content, Section};
use super::endpoints::{Endpoints, OfTask};
use super::snapshot::{self, Around, Beyond};
use crate::acm::records::Certificate;
use crate::cut;
use crate::cut::records::Cut;
use crate::ec2::instance::InstanceRecord;
use crate::ec2::network_interface::InterfaceRecord;
use crate::ec2::security::{self, Known};
use crate::ec2::security_group::SecurityGroupRecord;
use crate::ec2::subnet::SubnetRecord;
use crate::ecs::records::{HostPort, Task};
use crate::elbv2::records::{Listener, LoadBalancer, Rule, Target, TargetGroup, TargetType};
use crate::elbv2::uses;
use crate::platform::PlatformConfig;
use crate::servicediscovery::dns;
use crate::servicediscovery::records::{Instance, Namespace, Service};
use crate::store::feed::Change;
use crate::store::{Item, StoreError, Tx};
use crate::xray;
use quarry_domain::security_group::{Interface, Security};
use quarry_domain::task::TaskId;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

/// Kinds that mark everything: what many parts depend on and what seldom changes.
const EVERYWHERE: [&str; 7] = [
    Certificate::KIND,
    InstanceRecord::KIND,
    LoadBalancer::KIND,
    Namespace::KIND,
    SecurityGroupRecord::KIND,
    SubnetRecord::KIND,
    xray::records::Rule::KIND,
];

pub struct Builder {
    config: PlatformConfig,
    content: Content,
    /// Everything is to be made.
    whole: bool,
    /// Each time everything is made beside it and compared: in debug builds.
    pub checked: bool,
    tasks: HashMap<TaskId, OfTask>,
    endpoints: Endpoints,
    /// Tasks by their own network interfaces.
    attached: HashMap<String, TaskId>,
    /// The rules of security groups.
    security: Security,
    /// By target group ARN, the load balancers that forward there; and the other way round.
    users: HashMap<String, BTreeSet<String>>,
    forwards: HashMap<String, BTreeSet<String>>,
    /// Hub addresses of load balancers by DNS name in lower case.
    balancers: HashMap<String, Ipv4Addr>,
    /// By load balancer ARN: its key and how it looks to security groups.
    fronts: HashMap<String, (String, Interface)>,
    /// Load balancers by listener ARN.
    listeners: HashMap<String, String>,
    /// Some load balancer writes access logs.
    logged: bool,
    /// What is known of each target group.
    groups: HashMap<String, OfGroup>,
    /// Target groups by the id and port of their targets, and by the id of those that are addresses.
    by_port: HashMap<(String, u16), BTreeSet<String>>,
    by_address: HashMap<String, BTreeSet<String>>,
    /// Cuts that routes are published of, with the version of each.
    cuts: Vec<(String, u64)>,
}

#[derive(Default)]
struct OfGroup {
    targets: Vec<(String, u16)>,
    is_ip: bool,
    /// Registrations that drain.
    draining: Vec<u64>,
}

/// What is to be made anew.
#[derive(Default)]
struct Marks {
    tasks: BTreeSet<TaskId>,
    groups: BTreeSet<String>,
    /// Of load balancers.
    balancers: BTreeSet<String>,
    all_balancers: bool,
    services: BTreeSet<String>,
}

impl Builder {
    pub fn new(config: &PlatformConfig) -> Self {
        Self {
            content: Content::new(config.hub.clone()),
            config: config.clone(),
            whole: true,
            checked: cfg!(debug_assertions),
            tasks: HashMap::new(),
            endpoints: Endpoints::default(),
            attached: HashMap::new(),
            security: Security::default(),
            users: HashMap::new(),
            forwards: HashMap::new(),
            balancers: HashMap::new(),
            fronts: HashMap::new(),
            listeners: HashMap::new(),
            logged: false,
            groups: HashMap::new(),
            by_port: HashMap::new(),
            by_address: HashMap::new(),
            cuts: Vec::new(),
        }
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Cuts that routes are published of, with the version of each.
    pub fn cuts(&self) -> &[(String, u64)] {
        &self.cuts
    }

    /// Targets that drain, by group and registration.
    pub fn draining(&self) -> HashSet<(String, u64)> {
        let of = |(arn, of): (&String, &OfGroup)| of.draining.iter().map(|r| (arn.clone(), *r)).collect::<Vec<_>>();
        self.groups.iter().filter(|(_, of)| !of.draining.is_empty()).flat_map(of).collect()
    }

    /// Everything is made anew at the next look.
    pub fn again(&mut self) {
        self.whole = true;
    }

    /// Looks at what was written. `changes`: since the last call, and nothing that `tx` does not see.
    pub fn follow(&mut self, tx: &Tx<'_>, changes: &[Change]) -> Result<(), StoreError> {
        // Half of a look is none.
        let whole =
            std::mem::replace(&mut self.whole, true) || changes.iter().any(|change| EVERYWHERE.contains(&change.kind));
        if whole {
            *self = Self { checked: self.checked, ..Self::new(&self.config) };
        }
        let marks = if whole { self.everything(tx)? } else { self.marks(tx, changes)? };
        self.make(tx, marks)?;
        self.whole = false;
        if self.checked { self.check(tx) } else { Ok(()) }
    }

    /// The same, made of everything, is the same.
    fn check(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let mut other = Self::new(&self.config);
        let marks = other.everything(tx)?;
        other.make(tx, marks)?;
        assert!(self.content == other.content, "kept: {}made: {}", self.content.line(0), other.content.line(0));
        assert_eq!(self.content.fingerprint(), other.content.fingerprint());
        assert_eq!((self.draining(), &self.cuts), (other.draining(), &other.cuts));
        Ok(())
    }

    fn everything(&mut self, tx: &Tx<'_>) -> Result<Marks, StoreError> {
        self.security.groups = security::groups(tx)?;
        for (id, group) in &self.security.groups {
            self.content.entry(Section::SecurityGroups, id, group);
        }
        self.content.list(Section::Traces, "", &xray::sampling(tx)?);
        self.content.list(Section::Names, "own", &snapshot::own_names(&self.config));
        self.content.list(Section::Relays, "own", &snapshot::own_relays(&self.config));
        let zones = tx.shared::<Namespace>()?.iter().filter_map(|namespace| dns::zone(namespace)).collect::<Vec<_>>();
        self.content.list(Section::Zones, "", &zones);
        let known = security::known(tx)?;
        for (n, balancer) in tx.shared::<LoadBalancer>()?.iter().enumerate() {
            let (key, front) = (format!("{n:08}"), snapshot::front(balancer, &known));
            let hub_address = self.config.hub.as_ref().map(|_| balancer.hub_address);
            for address in hub_address.into_iter().chain([balancer.address]) {
                self.content.entry(Section::Interfaces, &address.to_string(), &front);
            }
            if let Some(address) = hub_address {
                let name = balancer.dns_name.to_ascii_lowercase();
                self.content.list(Section::Names, &format!("balancer {key}"), &[snapshot::name(name.clone(), address)]);
                self.balancers.insert(name, address);
            }
            self.logged |= balancer.attributes.access_logs.is_some();
            self.fronts.insert(balancer.arn.clone(), (key, front));
        }
        Ok(Marks {
            tasks: tx.shared::<Task>()?.iter().map(|task| task.id.clone()).collect(),
            groups: tx.shared::<TargetGroup>()?.iter().map(|group| group.arn.clone()).collect(),
            balancers: BTreeSet::new(),
            all_balancers: true,
            services: tx.shared::<Service>()?.iter().map(|service| service.id.clone()).collect(),
        })
    }

    fn marks(&self, tx: &Tx<'_>, changes: &[Change]) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        for Change { kind, key, parent, .. } in changes {
            match *kind {
                Task::KIND => drop(marks.tasks.insert(key.clone())),
                InterfaceRecord::KIND => marks.tasks.extend(self.attached.get(key).cloned()),
                HostPort::KIND => {
                    let at = key.rsplit_once(':').and_then(|(id, port)| Some((id.to_owned(), port.parse().ok()?)));
                    marks.groups.extend(at.and_then(|at| self.by_port.get(&at)).into_iter().flatten().cloned());
                }
                TargetGroup::KIND => drop(marks.groups.insert(key.clone())),
                Target::KIND => drop(marks.groups.insert(parent.clone())),
                Listener::KIND => drop(marks.balancers.insert(parent.clone())),
                Rule::KIND => {
                    let of = match self.listeners.get(parent) {
                        Some(known) => Some(known.clone()),
                        None => tx.find::<Listener>(parent)?.map(|listener| listener.load_balancer_arn.clone()),
                    };
                    marks.balancers.extend(of);
                }
                Cut::KIND => marks.all_balancers = true,
                Service::KIND => drop(marks.services.insert(key.clone())),
                Instance::KIND => drop(marks.services.insert(parent.clone())),
                _ => {}
            }
        }
        Ok(marks)
    }

    fn make(&mut self, tx: &Tx<'_>, mut marks: Marks) -> Result<(), StoreError> {
        let known = security::known(tx)?;
        self.make_tasks(tx, &known, &mut marks)?;
        if marks.all_balancers {
            marks.balancers.extend(self.fronts.keys().cloned());
        }
        if !marks.balancers.is_empty() {
            let scopes = cut::rule::scopes(tx)?;
            self.cuts = scopes.values().map(|scope| (scope.cut.clone(), scope.version)).collect();
            for arn in &marks.balancers {
                let Some((key, _)) = self.fronts.get(arn) else { continue };
                let Some(balancer) = tx.find::<LoadBalancer>(arn)? else { continue };
                let made = snapshot::balancer(tx, &balancer, self.config.hub.is_some(), &scopes)?;
                self.listeners.retain(|_, of| of != arn);
                self.listeners.extend(made.listeners.iter().map(|listener| (listener.arn.clone(), arn.clone())));
                self.content.list(Section::LoadBalancers, key, &[made]);
                let now = uses::of_balancer(tx, arn)?;
                let before = self.forwards.insert(arn.clone(), now.clone()).unwrap_or_default();
                for group in before.symmetric_difference(&now) {
                    marks.groups.insert(group.clone());
                    let users = self.users.entry(group.clone()).or_default();
                    let is_gone = if now.contains(group) { !users.insert(arn.clone()) } else { users.remove(arn) };
                    if is_gone && users.is_empty() {
                        self.users.remove(group);
                    }
                }
            }
        }
        for arn in &marks.groups {
            self.make_group(tx, &known, arn)?;
        }
        for id in &marks.services {
            let names = match tx.find::<Service>(id)? {
                Some(service) => dns::of_service(tx, &service, &self.balancers)?,
                None => Vec::new(),
            };
            self.content.list(Section::Names, &format!("service {id}"), &names);
        }
        if !self.config.outside.is_empty() && !marks.tasks.is_empty() {
            let Beyond { names, relays, outside } = snapshot::beyond(&self.config, &self.endpoints);
            self.content.list(Section::Names, "outside", &names);
            self.content.list(Section::Relays, "outside", &relays);
            self.content.clear(Section::Outside, "");
            for (at, outside) in &outside {
                self.content.entry(Section::Outside, &at.to_string(), outside);
            }
        }
        Ok(())
    }

    /// Marks the target groups that have the tasks' addresses.
    fn make_tasks(&mut self, tx: &Tx<'_>, known: &Known, marks: &mut Marks) -> Result<(), StoreError> {
        let mut new = Vec::new();
        let mut addresses = Vec::new();
        for id in &marks.tasks {
            let now = tx.find::<Task>(id)?.map(|task| OfTask::of(tx, &task, known)).transpose()?;
            if self.tasks.get(id) == now.as_ref() {
                continue;
            }
            // An address may go from one task to another: all leave before one comes.
            if let Some(before) = self.tasks.remove(id) {
                addresses.extend(before.private_address);
                self.forget_task(&before);
            }
            new.extend(now.map(|now| (id, now)));
        }
        for (id, of) in new {
            addresses.extend(of.private_address);
            self.endpoints.put(&of);
            for address in [of.address, of.private_address].into_iter().flatten() {
                if let Some(interface) = &of.interface {
                    self.content.entry(Section::Interfaces, &address.to_string(), interface);
                }
            }
            if let (Some(address), Some(vpc)) = (of.address, &of.vpc) {
                self.content.entry(Section::Networks, &address.to_string(), vpc);
            }
            if let Some(address) = of.private_address {
                let relays = of.relays(self.config.hub.is_some());
                self.content.list(Section::Relays, &format!("task {address}"), &relays);
            }
            self.attached.extend(of.attached.clone().map(|interface| (interface, id.clone())));
            self.tasks.insert(id.clone(), of);
        }
        for address in addresses {
            marks.groups.extend(self.by_address.get(&address.to_string()).into_iter().flatten().cloned());
        }
        Ok(())
    }

    fn forget_task(&mut self, of: &OfTask) {
        self.endpoints.remove(of);
        for address in [of.address, of.private_address].into_iter().flatten() {
            let address = address.to_string();
            self.content.remove(Section::Interfaces, &address);
            self.content.remove(Section::Networks, &address);
            self.content.remove(Section::Relays, &format!("task {address}"));
        }
        if let Some(interface) = &of.attached {
            self.attached.remove(interface);
        }
    }

    fn make_group(&mut self, tx: &Tx<'_>, known: &Known, arn: &str) -> Result<(), StoreError> {
        self.forget_group(arn);
        let Some(group) = tx.find::<TargetGroup>(arn)? else {
            self.content.remove(Section::TargetGroups, arn);
            return Ok(());
        };
        let stored = tx.children_of::<Target>(arn)?;
        let fronts = |users: &BTreeSet<String>| {
            users.iter().filter_map(|arn| self.fronts.get(arn)).map(|(_, front)| front).collect::<Vec<_>>()
        };
        let around = Around {
            security: &self.security,
            known,
            endpoints: &self.endpoints,
            askers: self.users.get(arn).map(fronts),
            logged: self.logged,
        };
        let made = snapshot::group(tx, &group, &stored, &around)?;
        self.content.entry(Section::TargetGroups, arn, &made);
        let of = OfGroup {
            targets: stored.iter().map(|target| (target.id.clone(), target.port)).collect(),
            is_ip: group.target_type == TargetType::Ip,
            draining: stored.iter().filter(|target| target.draining).map(|target| target.registration).collect(),
        };
        for (id, port) in &of.targets {
            match of.is_ip {
                true => drop(self.by_address.entry(id.clone()).or_default().insert(arn.to_owned())),
                false => drop(self.by_port.entry((id.clone(), *port)).or_default().insert(arn.to_owned())),
            }
        }
        self.groups.insert(arn.to_owned(), of);
        Ok(())
    }

    fn forget_group(&mut self, arn: &str) {
        let Some(of) = self.groups.remove(arn) else { return };
        for target in &of.targets {
            let (by_port, by_address) = (self.by_port.get_mut(target), self.by_address.get_mut(&target.0));
            for groups in by_port.into_iter().chain(by_address) {
                groups.remove(arn);
            }
            if self.by_port.get(target).is_some_and(BTreeSet::is_empty) {
                self.by_port.remove(target);
            }
            if self.by_address.get(&target.0).is_some_and(BTreeSet::is_empty) {
                self.by_address.remove(&target.0);
            }
        }
    }
}

/// The snapshot of what is stored, its version 0.
#[cfg(test)]
pub fn build(tx: &Tx<'_>, config: &PlatformConfig) -> Result<quarry_domain::snapshot::Snapshot, StoreError> {
    let mut builder = Builder::new(config);
    builder.follow(tx, &[])?;
    match serde_json::from_str(&builder.content().line(0)).expect("it is a message to the proxies") {
        quarry_domain::link::Down::Snapshot(snapshot) => Ok(*snapshot),
        quarry_domain::link::Down::Stop => unreachable!("a snapshot was written"),
    }
}
