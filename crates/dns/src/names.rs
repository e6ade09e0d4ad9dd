//! A snapshot's names, indexed: what an asker sees is found by hashing, however many names there are.

use quarry_domain::snapshot::{NameRecord, Snapshot, Zone};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// The names that can be asked for, and who may ask for which.
#[derive(Clone, Debug, Default)]
pub struct Names {
    records: Vec<NameRecord>,
    by_name: HashMap<String, Vec<usize>>,
    /// Names that have none of their own records perhaps, but others below them: who sees those.
    parents: HashMap<String, Vec<Option<String>>>,
    zones: HashMap<String, Vec<Zone>>,
    networks: BTreeMap<Ipv4Addr, String>,
}

/// The names as one asker sees them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    names: &'a Names,
    vpc: Option<&'a str>,
}

impl Names {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut names =
            Self { records: snapshot.names.clone(), networks: snapshot.networks.clone(), ..Self::default() };
        for (index, record) in snapshot.names.iter().enumerate() {
            names.by_name.entry(record.name.clone()).or_default().push(index);
            names.add_parents(&record.name, record.vpc.as_ref());
        }
        for zone in &snapshot.zones {
            names.zones.entry(zone.name.clone()).or_default().push(zone.clone());
            names.add_parents(&zone.name, Some(&zone.vpc));
        }
        names
    }

    fn add_parents(&mut self, name: &str, vpc: Option<&String>) {
        for parent in above(name) {
            let seen = self.parents.entry(parent.to_owned()).or_default();
            if !seen.iter().any(|known| known.as_ref() == vpc) {
                seen.push(vpc.cloned());
            }
        }
    }

    /// What a task sees that asks from this address.
    pub fn seen_from(&self, asker: IpAddr) -> View<'_> {
        let vpc = match asker {
            IpAddr::V4(address) => self.networks.get(&address).map(String::as_str),
            IpAddr::V6(_) => None,
        };
        View { names: self, vpc }
    }
}

impl<'a> View<'a> {
    /// The records under a name in lower case, without a final dot.
    pub fn records(self, name: &str) -> impl Iterator<Item = &'a NameRecord> {
        let found = self.names.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let records = found.iter().map(move |index| &self.names.records[*index]);
        records.filter(move |record| record.vpc.is_none() || record.vpc.as_deref() == self.vpc)
    }

    /// The zone that a name lies in: the most specific one.
    pub fn zone(self, name: &str) -> Option<&'a Zone> {
        std::iter::once(name)
            .chain(above(name))
            .find_map(|zone| self.names.zones.get(zone)?.iter().find(|zone| Some(zone.vpc.as_str()) == self.vpc))
    }

    /// Some known name lies below this one: it exists, though it may have no records.
    pub fn is_parent(self, name: &str) -> bool {
        let vpcs = self.names.parents.get(name).map(Vec::as_slice).unwrap_or_default();
        vpcs.iter().any(|vpc| vpc.is_none() || vpc.as_deref() == self.vpc)
    }
}

/// The names above one: of `a.b.c` these are `b.c` and `c`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[at + 1..])
}
