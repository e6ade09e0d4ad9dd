//! What a group lacks and what it has too much of: a pure plan over wanted and seen.

use super::records::SubnetRef;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// A group as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub desired: usize,
    pub subnets: Vec<SubnetRef>,
    /// Tried in order; what they leave open the default policy decides.
    pub policies: Vec<Policy>,
    /// Whether protection from scale-in counts; it does not when the group is deleted.
    pub protects: bool,
}

/// An instance that a group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub subnet: String,
    pub zone: String,
    pub launched_ms: i64,
    pub protected: bool,
    /// Launched from the group's present launch configuration or version of its template.
    pub current: bool,
}

/// AWS's termination policies, as far as they concern on-demand instances of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Default,
    OldestInstance,
    NewestInstance,
    OldestLaunchConfiguration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Launch(SubnetRef),
    /// Of the instance with this id.
    Terminate(String),
}

impl Policy {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Default" => Self::Default,
            "OldestInstance" => Self::OldestInstance,
            "NewestInstance" => Self::NewestInstance,
            // A group has one of the two: what is launched from the present one goes last.
            "OldestLaunchConfiguration" | "OldestLaunchTemplate" => Self::OldestLaunchConfiguration,
            _ => return None,
        })
    }

    /// Which of two goes first.
    fn order(self, a: &Member, b: &Member) -> Ordering {
        match self {
            Self::Default => a.current.cmp(&b.current).then(a.launched_ms.cmp(&b.launched_ms)),
            Self::OldestInstance => a.launched_ms.cmp(&b.launched_ms),
            Self::NewestInstance => b.launched_ms.cmp(&a.launched_ms),
            Self::OldestLaunchConfiguration => a.current.cmp(&b.current),
        }
    }
}

/// The actions that bring `members` to what `group` should be.
///
/// A launch goes to the zone with the fewest instances and there to the subnet with the fewest. A
/// termination takes the first by the policies from the zone with the most instances, as AWS does;
/// a protected instance stays.
pub fn plan(group: &Group, members: &[Member]) -> Vec<Action> {
    let mut members = members.to_vec();
    let mut actions = Vec::new();
    while members.len() > group.desired {
        let Some(at) = next_to_go(group, &members) else { break };
        actions.push(Action::Terminate(members.remove(at).id));
    }
    let mut placed: Vec<(String, String)> = members.into_iter().map(|m| (m.zone, m.subnet)).collect();
    while placed.len() < group.desired {
        let count = |which: &dyn Fn(&(String, String)) -> bool| placed.iter().filter(|p| which(p)).count();
        let load = |s: &&SubnetRef| (count(&|(zone, _)| *zone == s.zone), count(&|(_, subnet)| *subnet == s.id));
        let Some(subnet) = group.subnets.iter().min_by_key(load).cloned() else { break };
        placed.push((subnet.zone.clone(), subnet.id.clone()));
        actions.push(Action::Launch(subnet));
    }
    actions
}

fn next_to_go(group: &Group, members: &[Member]) -> Option<usize> {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members {
        *zones.entry(&member.zone).or_default() += 1;
    }
    let may_go = members.iter().enumerate().filter(|(_, m)| !(group.protects && m.protected));
    let first = may_go.min_by(|(_, a), (_, b)| {
        let fuller = Reverse(zones[a.zone.as_str()]).cmp(&Reverse(zones[b.zone.as_str()]));
        let by_policies = group.policies.iter().fold(fuller, |order, policy| order.then(policy.order(a, b)));
        by_policies.then(Policy::Default.order(a, b)).then_with(|| a.id.cmp(&b.id))
    });
    first.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(n: usize) -> SubnetRef {
        SubnetRef { id: format!("subnet-{n}"), zone: ["a", "b", "c"][n % 3].into() }
    }

    fn group(desired: usize, subnets: usize) -> Group {
        let subnets = (0..subnets).map(subnet).collect();
        Group { desired, subnets, policies: vec![Policy::Default], protects: true }
    }

    fn member(id: &str, subnet: usize, launched_ms: i64) -> Member {
        let SubnetRef { id: subnet, zone } = self::subnet(subnet);
        Member { id: id.into(), subnet, zone, launched_ms, protected: false, current: true }
    }

    #[test]
    fn launches_are_spread_over_the_subnets() {
        let launches = plan(&group(3, 2), &[member("x", 0, 1)]);
        assert_eq!(launches, [Action::Launch(subnet(1)), Action::Launch(subnet(0))]);
    }

    #[test]
    fn the_oldest_of_the_fullest_zone_goes_first() {
        let members = [member("lone", 1, 1), member("newer", 0, 3), member("older", 0, 2)];
        assert_eq!(plan(&group(2, 2), &members), [Action::Terminate("older".into())]);
        // Then each zone has one, and age alone decides.
        assert_eq!(plan(&group(1, 2), &members)[1], Action::Terminate("lone".into()));
    }

    #[test]
    fn an_outdated_launch_configuration_goes_before_an_older_instance() {
        let mut members = [member("old", 0, 1), member("outdated", 0, 2)];
        members[1].current = false;
        assert_eq!(plan(&group(1, 1), &members), [Action::Terminate("outdated".into())]);
        let mut newest = group(1, 1);
        newest.policies = vec![Policy::NewestInstance];
        members[1].current = true;
        assert_eq!(plan(&newest, &members), [Action::Terminate("outdated".into())]);
    }

    #[test]
    fn protection_holds_until_the_group_goes() {
        let mut members = [member("kept", 0, 1), member("goes", 0, 2)];
        members[0].protected = true;
        assert_eq!(plan(&group(0, 1), &members), [Action::Terminate("goes".into())]);
        let deleted = Group { protects: false, ..group(0, 1) };
        assert_eq!(plan(&deleted, &members).len(), 2);
    }

    prop_compose! {
        fn some_member()(n in 0usize..1000, subnet in 0usize..5, launched in 0i64..50, protected: bool, current: bool)
            -> Member
        {
            Member { protected, current, ..member(&format!("i-{n}"), subnet, launched) }
        }
    }

    proptest! {
        #[test]
        fn a_plan_carried_out_leaves_nothing_to_plan(
            desired in 0usize..20,
            subnets in 1usize..5,
            members in proptest::collection::btree_map(0usize..1000, some_member(), 0..20),
            protects: bool,
        ) {
            let group = Group { protects, ..group(desired, subnets) };
            let mut members: Vec<Member> =
                members.into_iter().map(|(n, m)| Member { id: format!("i-{n}"), ..m }).collect();
            let before = members.clone();
            for (n, action) in plan(&group, &members).into_iter().enumerate() {
                match action {
                    Action::Launch(subnet) => {
                        prop_assert!(group.subnets.contains(&subnet));
                        members.push(Member {
                            id: format!("new-{n}"),
                            subnet: subnet.id,
                            zone: subnet.zone,
                            launched_ms: 100,
                            protected: false,
                            current: true,
                        });
                    }
                    Action::Terminate(id) => {
                        let at = members.iter().position(|m| m.id == id);
                        prop_assert!(at.is_some(), "{id} is none of the group's");
                        let gone = members.remove(at.unwrap());
                        prop_assert!(!(protects && gone.protected));
                    }
                }
            }
            prop_assert_eq!(plan(&group, &members), Vec::new());
            let kept = if protects { before.iter().filter(|m| m.protected).count() } else { 0 };
            prop_assert_eq!(members.len(), desired.max(kept));
        }

        #[test]
        fn a_new_group_is_balanced_over_its_zones(desired in 0usize..30, subnets in 1usize..4) {
            let mut counts: BTreeMap<String, usize> = (0..subnets).map(|n| (subnet(n).zone, 0)).collect();
            for action in plan(&group(desired, subnets), &[]) {
                let Action::Launch(subnet) = action else { unreachable!("nothing is there to terminate") };
                *counts.get_mut(&subnet.zone).unwrap() += 1;
            }
            prop_assert!(counts.values().max().unwrap() - counts.values().min().unwrap() <= 1);
        }
    }
}
