//! What lies outside of all VPCs and may be reached from tasks all the same: an allow-list, service by service.

use crate::block::Block;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

/// An entry of the allow-list, as text `<service>=<name>:<port>[@<host>:<port>]`: tasks of `service` reach
/// `host:port` (TCP) as `name:port`. Without `@…` they are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowOutside {
    /// `*` for all tasks, a service's name, `<cluster>/<service>`, or `family:<family>` for tasks of no service.
    pub service: String,
    /// What tasks call it, lower case.
    pub name: String,
    pub port: u16,
    /// An IPv4 address, or a name that this machine resolves.
    pub host: String,
    pub host_port: u16,
}

impl AllowOutside {
    /// Whether it is for a task. `group`: as ECS shows it, `service:<name>` or `family:<name>`; `cluster`: a name.
    pub fn is_for(&self, cluster: &str, group: &str) -> bool {
        let (of_cluster, service) = match self.service.split_once('/') {
            Some((own, service)) => (own == cluster, service),
            None => (true, self.service.as_str()),
        };
        of_cluster && (service == "*" || group == service || group.strip_prefix("service:") == Some(service))
    }

    /// The address, where the host is one.
    pub fn address(&self) -> Option<SocketAddrV4> {
        Some(SocketAddrV4::new(self.host.parse().ok()?, self.host_port))
    }

    /// What a security group's rule must contain to let it be reached.
    pub fn block(&self) -> Block {
        let everything = Block::parse("0.0.0.0/0").expect("a block");
        self.address().map_or(everything, |address| Block::of(*address.ip()))
    }
}

/// Refuses lists in which one name and port lead to several places.
pub fn check(list: &[AllowOutside]) -> Result<(), String> {
    let place = |entry: &AllowOutside| (entry.host.clone(), entry.host_port);
    for (n, entry) in list.iter().enumerate() {
        let same = |other: &&AllowOutside| (&other.name, other.port) == (&entry.name, entry.port);
        if let Some(other) = list[..n].iter().filter(same).find(|other| place(other) != place(entry)) {
            return Err(format!(
                "{}:{} cannot lead to {}:{} and to {}:{}: give one of them another name",
                entry.name, entry.port, other.host, other.host_port, entry.host, entry.host_port
            ));
        }
    }
    Ok(())
}

impl FromStr for AllowOutside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text}: this is not <service>=<name>:<port>[@<host>:<port>]");
        let (service, rest) = text.split_once('=').ok_or_else(form)?;
        let (inside, outside) = rest.split_once('@').unwrap_or((rest, rest));
        let split = |place: &str| -> Option<(String, u16)> {
            let (host, port) = place.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            is_host(host).then(|| (host.to_ascii_lowercase(), port))
        };
        let (name, port) = split(inside).ok_or_else(form)?;
        let (host, host_port) = split(outside).ok_or_else(form)?;
        let service_is_named = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
        if !service.split('/').all(service_is_named) || service.matches('/').count() > 1 {
            return Err(form());
        }
        if name.parse::<Ipv4Addr>().is_ok() || name == "localhost" {
            return Err(format!(
                "{text}: tasks need a name for it, such as {service}=outside.internal:{port}@{host}:{host_port}"
            ));
        }
        Ok(Self { service: service.to_owned(), name, port, host, host_port })
    }
}

/// A host name or an IPv4 address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_names_a_service_and_a_place() {
        let entry: AllowOutside = "demo/users=Postgres.internal:5432@127.0.0.1:15432".parse().unwrap();
        let expected = AllowOutside {
            service: "demo/users".into(),
            name: "postgres.internal".into(),
            port: 5432,
            host: "127.0.0.1".into(),
            host_port: 15_432,
        };
        assert_eq!(entry, expected);
        assert_eq!(entry.block().to_string(), "127.0.0.1/32");
        let same: AllowOutside = "*=db.example.com:5432".parse().unwrap();
        assert_eq!((same.host.as_str(), same.host_port, same.address()), ("db.example.com", 5432, None));
        assert_eq!(same.block().to_string(), "0.0.0.0/0");
        for bad in [
            "",
            "users",
            "users=",
            "users=db",
            "users=db:0",
            "users=db:70000",
            "=db:1",
            "a/b/c=db:1",
            "a/=db:1",
            "users=10.0.0.1:80",
            "users=localhost:80@127.0.0.1:80",
            "users=d b:80",
            "users=db:80@",
            "users=db:80@h",
            "users=-db:80",
            "users=db..x:80",
        ] {
            assert!(bad.parse::<AllowOutside>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_leads_to_one_place() {
        let list = |entries: &[&str]| entries.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(check(&list(&["a=db:1@h:1", "b=db:1@h:1", "b=db:2@i:2", "*=other:1@i:1"])), Ok(()));
        assert!(check(&list(&["a=db:1@h:1", "b=db:1@h:2"])).is_err());
    }

    #[test]
    fn it_is_for_the_tasks_it_names() {
        let is_for = |service: &str, cluster, group| {
            let entry: AllowOutside = format!("{service}=db:1").parse().unwrap();
            entry.is_for(cluster, group)
        };
        for (service, cluster, group, expected) in [
            ("*", "demo", "service:users", true),
            ("*", "demo", "family:job", true),
            ("users", "demo", "service:users", true),
            ("users", "demo", "family:users", false),
            ("family:users", "demo", "family:users", true),
            ("users", "demo", "service:users2", false),
            ("demo/users", "demo", "service:users", true),
            ("demo/*", "demo", "service:posts", true),
            ("demo/users", "other", "service:users", false),
        ] {
            assert_eq!(is_for(service, cluster, group), expected, "{service} {cluster} {group}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,60}") {
            let _ = text.parse::<AllowOutside>();
        }
    }
}
