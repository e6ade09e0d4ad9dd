//! Transcripts of the planner, and its properties.

use super::*;
use proptest::prelude::*;

fn spec(data: Data) -> Spec {
    Spec { data, shadow_percent: None, canary_percent: None, allow_empty: false, limits: Limits::default() }
}

/// Two databases and a balancer that do at once what they are told.
struct World {
    spec: Spec,
    progress: Progress,
    seen: Seen,
    log: Vec<String>,
}

impl World {
    fn new(spec: Spec) -> Self {
        let side = |owner| SideSeen { prepared: true, owner, epoch: 1, digest: "d".into(), ..SideSeen::default() };
        let data = spec.data != Data::None;
        let seen = Seen {
            source: data.then(|| side(true)),
            destination: data.then(|| side(false)),
            route: RouteSeen {
                acknowledged: true,
                in_flight: Some(0),
                unrepeatable: 0,
                overflow: false,
                expired: false,
            },
            healthy: true,
            copied: true,
            calm: Some(10_000),
            verified: Some(Verified::Rows(7)),
            in_state: 10_000,
            ..Seen::default()
        };
        Self { spec, progress: Progress::new(None), seen, log: Vec::new() }
    }

    fn side(&mut self, side: Side) -> &mut SideSeen {
        match side {
            Side::Source => self.seen.source.as_mut().unwrap(),
            Side::Destination => self.seen.destination.as_mut().unwrap(),
        }
    }

    /// One step; `false`: it waits.
    fn once(&mut self) -> bool {
        match step(&self.spec, &self.progress, &self.seen) {
            Step::Journal { next, passed, why } => {
                let names: Vec<_> = passed.iter().map(|state| state.name()).collect();
                let why = why.map_or(String::new(), |why| format!(" ({why})"));
                let route = &next.route;
                let route = match *route == self.progress.route {
                    true => String::new(),
                    false => format!(
                        " route {} epoch {}{}{}{} to {}",
                        route.version,
                        route.epoch,
                        if route.hold { " hold" } else { "" },
                        if route.shadow { " shadow" } else { "" },
                        if route.canary { " canary" } else { "" },
                        route.to.name()
                    ),
                };
                self.log.push(format!("{}{route}{why}", names.join(" ")));
                self.progress = *next;
                self.seen.in_hold = 0;
                self.seen.in_state = if self.progress.state.holds() { 0 } else { 10_000 };
                true
            }
            Step::Act(actions) => {
                let before = self.seen.clone();
                for action in actions {
                    match action {
                        Action::GiveUp { side, epoch } => {
                            let one = self.side(side);
                            (one.owner, one.epoch) = (false, epoch);
                            one.released = Some(Mark { position: 0, digest: "d".into() });
                        }
                        Action::Take { side, epoch, .. } => {
                            let one = self.side(side);
                            (one.owner, one.epoch, one.released) = (true, epoch, None);
                        }
                        Action::Retire { .. } => self.seen.retired = true,
                        _ => {}
                    }
                }
                before != self.seen
            }
        }
    }

    fn run(&mut self) -> &[String] {
        for _ in 0..100 {
            if !self.once() {
                return &self.log;
            }
        }
        panic!("it does not come to rest: {:?}", self.log);
    }

    fn ask(&mut self, request: Wish) {
        self.progress = wish(&self.progress, request).unwrap();
        self.log.clear();
    }
}

#[test]
fn there_and_back_and_there_again() {
    let mut world = World::new(spec(Data::Contract));
    let there = [
        "BACKFILL route 1 epoch 1 to source",
        "FOLLOW",
        "HOLD route 2 epoch 1 hold to source",
        "DRAIN FENCE",
        "CATCH-UP SWITCH ACTIVATE route 3 epoch 3 hold to destination",
        "RELEASE route 4 epoch 3 to destination (reads are on the new side, the parked writes go out)",
        "WATCH",
    ];
    assert_eq!(world.run(), there);
    assert_eq!(world.progress.owner(), Side::Destination);
    world.ask(Wish::Rollback);
    assert_eq!(
        world.run(),
        [
            "FOLLOW (a person asked for it)",
            "HOLD route 5 epoch 3 hold to destination",
            "DRAIN FENCE",
            "CATCH-UP SWITCH ACTIVATE route 6 epoch 5 hold to source",
            "RELEASE route 7 epoch 5 to source (reads are on the new side, the parked writes go out)",
            "FOLLOW (rolled back)",
        ]
    );
    assert_eq!(world.progress.owner(), Side::Source);
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::RolledBack);
    world.ask(Wish::Resume { accept: false, until: None });
    world.run();
    assert_eq!((world.progress.state, world.progress.route.epoch), (State::Watch, 7));
    world.ask(Wish::Finish);
    assert_eq!(world.run(), ["FINISH (a person asked for it)", "FINISHED"]);
    assert!(wish(&world.progress, Wish::Rollback).is_err());
}

#[test]
fn a_path_without_data_has_no_states_of_data() {
    let mut world = World::new(Spec { shadow_percent: Some(100), ..spec(Data::None) });
    assert_eq!(
        world.run(),
        [
            " route 1 epoch 0 to source",
            "SHADOW route 2 epoch 0 shadow to source",
            "HOLD route 3 epoch 0 hold to source",
            "DRAIN SWITCH RELEASE route 4 epoch 0 hold to destination",
            "RELEASE route 5 epoch 0 to destination (reads are on the new side, the parked writes go out)",
            "WATCH",
        ]
    );
    let path: Vec<_> = State::path(&world.spec).into_iter().map(State::name).collect();
    assert_eq!(path, ["PREPARE", "SHADOW", "HOLD", "DRAIN", "SWITCH", "RELEASE", "WATCH", "FINISH"]);
    world.ask(Wish::Rollback);
    world.run();
    assert_eq!((world.progress.state, world.progress.owner()), (State::Prepare, Side::Source));
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::RolledBack);
}

#[test]
fn a_hold_that_takes_too_long_is_tried_again_and_then_a_person_is_asked() {
    let mut world = World::new(spec(Data::Contract));
    world.seen.route.acknowledged = false;
    let mut aborts = 0;
    for _ in 0..60 {
        if world.progress.state == State::Hold {
            world.seen.in_state = 1001;
            world.seen.in_hold = 1001;
        }
        world.seen.route.acknowledged = world.progress.state != State::Hold;
        let before = world.progress.state;
        world.once();
        aborts += u32::from(before != State::Abort && world.progress.state == State::Abort);
    }
    assert_eq!(aborts, 5);
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!((world.progress.state, stop.code), (State::Follow, StopCode::HoldTooLong));
    assert!(stop.message.contains("not every proxy acknowledged"), "{}", stop.message);
    assert_eq!(world.progress.owner(), Side::Source);
    assert!(!world.progress.route.hold, "the route is open");
}

#[test]
fn a_fence_that_may_have_fallen_is_lifted_by_a_higher_epoch() {
    let mut world = World::new(spec(Data::Contract));
    while world.progress.state != State::Fence {
        assert!(world.once());
    }
    let fence = world.progress.top;
    // No answer comes.
    world.seen.source = None;
    world.seen.in_state = 201;
    assert!(world.once());
    assert_eq!((world.progress.state, world.progress.taking), (State::Abort, true));
    let expect = vec![Action::Take { side: Side::Source, epoch: fence + 1, expect: None }];
    assert_eq!(step(&world.spec, &world.progress, &world.seen), Step::Act(expect));
    world.seen.source = Some(SideSeen { prepared: true, owner: true, epoch: fence + 1, ..SideSeen::default() });
    assert!(world.once());
    assert_eq!(world.progress.route.epoch, fence + 1, "writes carry the new epoch");
    assert!(!world.progress.route.hold);
}

#[test]
fn writes_in_flight_delay_the_fence_only_where_it_cannot_refuse_them() {
    for (data, next) in [(Data::Contract, State::Fence), (Data::Database, State::Abort)] {
        let mut world = World::new(spec(data));
        (world.seen.route.in_flight, world.seen.route.unrepeatable) = (Some(1), 1);
        while world.progress.state != State::Drain {
            assert!(world.once());
        }
        world.seen.in_state = 150;
        assert!(!world.once(), "it waits");
        world.seen.in_state = 201;
        assert!(world.once());
        assert_eq!(world.progress.state, next);
    }
    // What can be sent again delays nothing.
    let mut world = World::new(spec(Data::Contract));
    world.seen.route.in_flight = Some(3);
    while world.progress.state != State::Hold {
        assert!(world.once());
    }
    assert!(world.once());
    assert_eq!(world.progress.state, State::Fence);
}

#[test]
fn digests_that_differ_abort_for_good() {
    let mut world = World::new(spec(Data::Contract));
    world.seen.destination.as_mut().unwrap().digest = "other".into();
    world.run();
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!((world.progress.state, stop.code), (State::Follow, StopCode::DigestsDiffer));
    assert!(world.log.iter().any(|line| line.starts_with("ABORT")), "{:?}", world.log);
    assert_eq!(world.log.iter().filter(|line| line.starts_with("HOLD")).count(), 1, "it is not tried again");
}

#[test]
fn lag_that_never_closes_aborts_and_says_why() {
    let mut world = World::new(spec(Data::Contract));
    world.seen.calm = None;
    world.seen.in_state = 10_000;
    world.seen.lag = "4100 changes behind".into();
    world.run();
    assert_eq!((world.progress.state, &world.progress.stopped), (State::Follow, &None), "it waits");
    world.seen.in_state = 120_001;
    world.run();
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!(stop.code, StopCode::LagNeverCloses);
    assert!(stop.message.contains("4100 changes behind"), "{}", stop.message);
}

#[test]
fn shadow_differences_stop_and_show_and_are_accepted_in_so_many_words() {
    let mut world = World::new(Spec { shadow_percent: Some(100), ..spec(Data::Contract) });
    world.seen.shadow =
        ShadowSeen { compared: 5, different: 2, doubtful: 0, example: "GET /a: status 200 and 404".into() };
    world.run();
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!((world.progress.state, stop.code), (State::Shadow, StopCode::Differences));
    assert!(stop.message.contains("GET /a"), "{}", stop.message);
    assert!(wish(&world.progress, Wish::Resume { accept: false, until: None }).is_err());
    world.ask(Wish::Resume { accept: true, until: None });
    world.run();
    assert_eq!(world.progress.state, State::Watch);
}

#[test]
fn what_differs_so_far_is_waited_for() {
    let mut world = World::new(Spec { shadow_percent: Some(100), ..spec(Data::Contract) });
    while world.progress.state != State::Shadow {
        assert!(world.once());
    }
    world.seen.shadow = ShadowSeen { compared: 5, doubtful: 1, ..ShadowSeen::default() };
    world.seen.in_state = world.spec.limits.shadow + 100;
    world.run();
    assert_eq!((world.progress.state, &world.progress.stopped), (State::Shadow, &None), "it may be a row on its way");
    world.seen.shadow = ShadowSeen { compared: 6, different: 1, ..ShadowSeen::default() };
    world.run();
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::Differences);
    // There is always another read of something that was just written: they are not waited for without end.
    world.progress.stopped = None;
    world.seen.shadow = ShadowSeen { compared: 7, doubtful: 1, ..ShadowSeen::default() };
    world.seen.in_state = world.spec.limits.shadow + 60_000;
    world.run();
    assert_eq!(world.progress.state, State::Watch);
}

#[test]
fn what_came_late_in_the_hold_is_not_given_up() {
    let mut world = World::new(spec(Data::Contract));
    while world.progress.state != State::Fence {
        assert!(world.once());
    }
    world.once();
    world.seen.in_state = world.spec.limits.fence + 100;
    world.seen.in_hold = world.spec.limits.fence + 100;
    world.once();
    assert_eq!(world.progress.state, State::Activate, "{:?}", world.log);
    // And a hold that follows others that were given up gets longer for each state, never longer in all.
    let mut world = World::new(spec(Data::Contract));
    while world.progress.state != State::Fence {
        assert!(world.once());
    }
    world.progress.attempts = 2;
    world.seen.in_state = 2 * world.spec.limits.fence;
    world.once();
    assert_eq!(world.progress.state, State::Fence);
    world.seen.source.as_mut().unwrap().released = None;
    world.seen.in_hold = world.spec.limits.hold + 1;
    world.once();
    assert_eq!(world.progress.state, State::Abort);
}

#[test]
fn the_canary_comes_after_the_shadow() {
    let mut world = World::new(Spec { canary_percent: Some(5), ..spec(Data::Contract) });
    let log = world.run().join("\n");
    assert!(log.contains("SHADOW route 2 epoch 1 shadow to source\nSHADOW route 3 epoch 1 shadow canary to source"));
}

#[test]
fn it_stops_where_it_is_told_to() {
    let mut world = World::new(Spec { shadow_percent: Some(100), ..spec(Data::Contract) });
    world.progress.until = Some(State::Shadow);
    world.run();
    assert_eq!(world.progress.state, State::Shadow);
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::Reached);
    assert!(world.progress.route.shadow, "shadowing goes on");
    let behind = wish(&world.progress, Wish::Resume { accept: false, until: Some(State::Follow) });
    assert!(behind.is_err());
    world.ask(Wish::Resume { accept: false, until: None });
    world.run();
    assert_eq!(world.progress.state, State::Watch);
}

#[test]
fn a_comparison_that_met_no_row_is_none() {
    let mut world = World::new(spec(Data::Contract));
    world.seen.verified = Some(Verified::Rows(0));
    world.run();
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::NothingCompared);
    let mut world = World::new(Spec { allow_empty: true, ..spec(Data::Contract) });
    world.seen.verified = Some(Verified::Rows(0));
    world.run();
    assert_eq!(world.progress.state, State::Watch);
    let mut world = World::new(spec(Data::Contract));
    world.seen.verified = Some(Verified::Wrong("the source's digest is not that of its rows".into()));
    world.run();
    assert_eq!(world.progress.stopped.as_ref().unwrap().code, StopCode::DigestWrong);
}

#[test]
fn a_breach_of_the_service_level_moves_back() {
    let mut world = World::new(spec(Data::Contract));
    world.run();
    assert_eq!(world.progress.state, State::Watch);
    world.seen.breach = Some("31 % of answers are 5xx".into());
    world.log.clear();
    let log = world.run().join("\n");
    assert!(log.starts_with("FOLLOW (31 % of answers are 5xx)"), "{log}");
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!((world.progress.owner(), stop.code), (Side::Source, StopCode::RolledBack));
    assert!(stop.message.contains("31 %"), "{}", stop.message);
}

#[test]
fn a_rollback_that_cannot_be_done_leaves_the_scope_where_it_is() {
    let mut world = World::new(spec(Data::Contract));
    world.run();
    world.seen.calm = None;
    world.ask(Wish::Rollback);
    world.run();
    assert_eq!((world.progress.state, world.progress.owner()), (State::Follow, Side::Destination));
    world.seen.in_state = 120_001;
    world.run();
    let stop = world.progress.stopped.clone().unwrap();
    assert_eq!((world.progress.state, stop.code), (State::Watch, StopCode::LagNeverCloses));
    assert_eq!(world.progress.owner(), Side::Destination);
}

#[test]
fn an_abort_ends_on_the_old_side_and_only_before_the_switch() {
    let mut world = World::new(spec(Data::Contract));
    world.progress.until = Some(State::Follow);
    world.run();
    world.ask(Wish::Abort);
    world.run();
    assert_eq!((world.progress.state, world.progress.owner()), (State::Aborted, Side::Source));
    let mut world = World::new(spec(Data::Contract));
    world.run();
    assert!(wish(&world.progress, Wish::Abort).is_err());
}

#[test]
fn a_journal_that_is_older_than_the_databases_is_corrected_forward() {
    let mut world = World::new(spec(Data::Contract));
    while world.progress.state != State::Hold {
        assert!(world.once());
    }
    let old = world.progress.clone();
    world.run();
    assert_eq!(world.progress.state, State::Watch);
    // The store comes back from a copy.
    world.progress = old;
    world.log.clear();
    let log = world.run().join("\n");
    assert!(log.starts_with("RELEASE route 3 epoch 3 hold to destination (the destination's database says"), "{log}");
    assert_eq!((world.progress.state, world.progress.owner()), (State::Watch, Side::Destination));
}

#[test]
fn scopes_are_those_of_one_rule() {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    assert_eq!(check_scope("posts", &paths(&["/api/posts*"]), &paths(&["posts"])), Ok(()));
    for (name, bad, tables) in [
        ("", &["/a"][..], &[][..]),
        ("a b", &["/a"], &[]),
        ("a", &[], &[]),
        ("a", &["/a", "/b", "/c", "/d"], &[]),
        ("a", &["a"], &[]),
        ("a", &["/ä"], &[]),
        ("a", &["/*a*", "/*b*", "/*c*"], &[]),
        ("a", &["/a"], &["drop table"]),
    ] {
        assert!(check_scope(name, &paths(bad), &paths(tables)).is_err(), "{name} {bad:?} {tables:?}");
    }
    assert!(overlaps(&paths(&["/api/posts*"]), &paths(&["/api/*"])));
    assert!(!overlaps(&paths(&["/api/posts*"]), &paths(&["/api/users*", "/x"])));
}

fn any_side() -> impl Strategy<Value = Option<SideSeen>> {
    let side = (any::<bool>(), any::<bool>(), 0..8u64, 0..3u64, 0..3u64, 0..2u8);
    proptest::option::weighted(
        0.8,
        side.prop_map(|(prepared, owner, epoch, position, applied, digest)| SideSeen {
            prepared,
            owner,
            epoch,
            released: (!owner).then(|| Mark { position, digest: digest.to_string() }),
            applied,
            digest: digest.to_string(),
        }),
    )
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let route = (any::<bool>(), proptest::option::of(0..2u64), 0..2u64, any::<bool>(), any::<bool>()).prop_map(
        |(acknowledged, in_flight, unrepeatable, overflow, expired)| RouteSeen {
            acknowledged,
            in_flight,
            unrepeatable,
            overflow,
            expired,
        },
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let times = (prop_oneof![Just(0u64), Just(300), Just(200_000)], prop_oneof![Just(0u64), Just(2000)]);
    (any_side(), any_side(), route, flags, times, proptest::option::of(0..2u64)).prop_map(
        |(source, destination, route, (healthy, copied, calm, breach, missing), (in_state, in_hold), verified)| Seen {
            source,
            destination,
            route,
            healthy,
            copied,
            calm: calm.then_some(1000),
            shadow: ShadowSeen::default(),
            verified: verified.map(Verified::Rows),
            breach: breach.then(|| "5xx".into()),
            missing: (missing && in_hold > 0).then(|| "no key".into()),
            in_state,
            in_hold,
            ..Seen::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is seen, sensible or not, and whatever is asked for.
    #[test]
    fn the_rules_that_no_sight_can_break(
        data in prop_oneof![Just(Data::None), Just(Data::Contract), Just(Data::Database)],
        sights in proptest::collection::vec((any_seen(), 0..12u8), 1..80),
    ) {
        let spec = Spec { shadow_percent: Some(10), ..spec(data) };
        let mut now = Progress::new(None);
        for (mut seen, request) in sights {
            if data == Data::None {
                (seen.source, seen.destination) = (None, None);
            }
            let asked = match request {
                0 => wish(&now, Wish::Rollback),
                1 => wish(&now, Wish::Abort),
                2 => wish(&now, Wish::Resume { accept: true, until: None }),
                3 => wish(&now, Wish::Finish),
                _ => Ok(now.clone()),
            };
            now = asked.unwrap_or(now);
            match step(&spec, &now, &seen) {
                Step::Act(actions) => for action in actions {
                    // Fences move only in the states that are for it, with the epoch that is journaled.
                    match action {
                        Action::GiveUp { side, epoch } => {
                            prop_assert_eq!((now.state, side, epoch), (State::Fence, now.from, now.top));
                        }
                        Action::Take { side, epoch, .. } => {
                            let aborting = now.state == State::Abort && now.taking && side == now.from;
                            let activating = now.state == State::Activate && side == now.next_owner();
                            prop_assert!(aborting || activating);
                            prop_assert_eq!(epoch, now.top);
                        }
                        _ => {}
                    }
                },
                Step::Journal { next, passed, .. } => {
                    prop_assert!(next.top >= now.top && next.route.version >= now.route.version);
                    if next.route != now.route {
                        prop_assert!(next.route.version > now.route.version, "a change has a version of its own");
                    }
                    let corrected = [&seen.source, &seen.destination].into_iter().flatten().any(|s| s.epoch > now.top);
                    if !corrected {
                        if matches!(now.state, State::Activate | State::Release) {
                            let settled = next.is_back() == now.is_back() || next.state == State::Follow
                                || next.state == State::Prepare;
                            prop_assert!(!matches!(next.state, State::Abort | State::Fence) && settled, "forward only");
                        }
                        if now.state == State::Abort {
                            prop_assert!(!next.state.is_switched() || next.state == State::Watch);
                            prop_assert!(!next.route.hold || next.taking);
                        }
                        // Decisions that cannot be taken back rest on what both databases said.
                        if passed.contains(&State::Switch) && data != Data::None {
                            let (old, new) = (seen.side(now.from).unwrap(), seen.side(now.next_owner()).unwrap());
                            prop_assert!(!new.owner);
                            prop_assert!(now.state == State::CatchUp || (!old.owner && old.epoch == now.top));
                        }
                        if passed.contains(&State::Switch) && data != Data::Contract {
                            prop_assert!(now.mark.is_some() || seen.route.in_flight == Some(0)
                                || now.state == State::Fence);
                        }
                        if next.state == State::Fence && data == Data::Database {
                            prop_assert_eq!(seen.route.in_flight, Some(0));
                        }
                    }
                    now = *next;
                }
            }
        }
    }
}
