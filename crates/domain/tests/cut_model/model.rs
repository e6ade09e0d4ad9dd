//! What may happen next, and what must hold whatever happens.

use super::{Answer, Bounds, Client, Database, Event, Fence, Message, Request, World, digest, forward, index};
use quarry_domain::cut::{Action, Mark, Progress, Route, Side, State, Step, Wish, step, wish};
use stateright::{Model, Property};
use std::collections::BTreeSet;

impl Model for Bounds {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let database = |owner| Database {
            owner,
            epoch: 1,
            released: None,
            rows: Vec::new(),
            keys: BTreeSet::new(),
            feed: Vec::new(),
            applied: 0,
        };
        let mut progress = Progress::new(None);
        progress.state = State::Follow;
        progress.top = 1;
        progress.route.version = 1;
        progress.route.epoch = 1;
        vec![World {
            route: progress.route.clone(),
            saved: progress.route.clone(),
            life: 0,
            clients: vec![(Client::Idle, 0); self.writes],
            outsider: Client::Idle,
            requests: BTreeSet::new(),
            answers: BTreeSet::new(),
            databases: [database(true), database(false)],
            progress,
            remembered: [None, None],
            network: BTreeSet::new(),
            crashes: 0,
            timeouts: 0,
            lates: 0,
            skips: 0,
            rolled_back: false,
            bad_read: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        if world.bad_read {
            return;
        }
        for (i, (client, attempt)) in world.clients.iter().enumerate() {
            match client {
                Client::Idle => actions.push(Event::Send(i)),
                Client::Parked if !world.route.hold => actions.push(Event::Send(i)),
                Client::InFlight if world.timeouts < self.timeouts => actions.push(Event::TimesOut(i)),
                Client::Unknown if *attempt < 2 => actions.push(Event::Retry(i)),
                _ => {}
            }
        }
        actions.extend(world.requests.iter().cloned().map(Event::Execute));
        actions.extend(world.answers.iter().cloned().map(Event::Reply));
        if world.crashes < self.crashes {
            actions.push(Event::BalancerCrash { lost: false });
            if world.saved != world.route {
                actions.push(Event::BalancerCrash { lost: true });
            }
        }
        if self.outsider && world.outsider == Client::Idle {
            actions.push(Event::Outsider);
        }
        for to in 0..2 {
            let head = world.databases[1 - to].feed.len() as u64;
            if (to == 1 || self.reverse_feed) && world.databases[to].applied < head {
                actions.push(Event::Replicate(to));
                if world.skips < self.skips {
                    actions.push(Event::Skip(to));
                }
            }
        }
        actions.extend(world.network.iter().cloned().map(Event::Deliver));
        if self.stale {
            actions.extend([Event::Look(0), Event::Look(1)]);
        }
        actions.push(Event::Control { late: false });
        if world.lates < self.lates && world.progress.state.holds() {
            actions.push(Event::Control { late: true });
        }
        if self.rollback && !world.rolled_back && world.progress.state == State::Watch {
            actions.push(Event::Rollback);
        }
        actions.push(Event::Read);
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::Send(write) => forward(&mut world, write),
            Event::Execute(request) => {
                world.requests.remove(&request);
                let database = &mut world.databases[request.to];
                let current = !self.token || request.epoch == database.epoch;
                let executed = current && self.write(database, request.write, true);
                if request.life == world.life {
                    let Request { write, attempt, life, .. } = request;
                    world.answers.insert(Answer { write, attempt, executed, life });
                }
            }
            Event::Reply(answer) => {
                world.answers.remove(&answer);
                let client = &mut world.clients[answer.write as usize];
                if answer.life == world.life && *client == (Client::InFlight, answer.attempt) {
                    client.0 = if answer.executed { Client::Acknowledged } else { Client::Parked };
                }
            }
            Event::TimesOut(write) => {
                world.timeouts += 1;
                world.clients[write].0 = Client::Unknown;
            }
            Event::Retry(write) => {
                world.clients[write].1 += 1;
                forward(&mut world, write);
            }
            Event::Outsider => {
                let write = self.writes as u8;
                let executed = self.write(&mut world.databases[0], write, false);
                world.outsider = if executed { Client::Acknowledged } else { Client::Unknown };
            }
            Event::BalancerCrash { lost } => {
                world.crashes += 1;
                world.life += 1;
                for (client, _) in &mut world.clients {
                    if matches!(client, Client::InFlight | Client::Parked) {
                        *client = Client::Unknown;
                    }
                }
                world.answers.clear();
                if !self.durable_route {
                    world.route = Progress::new(None).route;
                    world.route.epoch = 1;
                } else if lost {
                    world.route = world.saved.clone();
                }
            }
            Event::Replicate(to) => {
                let write = world.databases[1 - to].feed[world.databases[to].applied as usize];
                let database = &mut world.databases[to];
                database.applied += 1;
                database.rows.push(write);
                database.rows.sort_unstable();
                if self.keys_move {
                    database.keys.insert(write);
                }
            }
            Event::Skip(to) => {
                world.skips += 1;
                world.databases[to].applied += 1;
            }
            Event::Deliver(message) => self.deliver(&mut world, message),
            Event::Look(side) => world.remembered[side] = Some(self.look(&world, side)),
            Event::Control { late } => {
                world.lates += u8::from(late);
                let seen = self.seen(&world, late);
                match step(&self.spec(), &world.progress, &seen) {
                    Step::Journal { next, .. } => world.progress = *next,
                    Step::Act(actions) => {
                        for action in actions {
                            let message = match action {
                                Action::GiveUp { side, epoch } => Message::GiveUp { side: index(side), epoch },
                                Action::Take { side, epoch, expect } => {
                                    Message::Take { side: index(side), epoch, expect }
                                }
                                _ => continue,
                            };
                            world.network.insert(message);
                        }
                    }
                }
                let Route { version, epoch, hold, to, .. } = world.progress.route;
                if version > 1 {
                    world.network.insert(Message::Route { version, epoch, hold, to: index(to) });
                }
            }
            Event::Rollback => {
                world.rolled_back = true;
                world.progress = wish(&world.progress, Wish::Rollback).expect("it is in WATCH");
            }
            Event::Read => {
                let database = &world.databases[index(world.route.to)];
                let missing = |(i, (client, _)): (usize, &(Client, u8))| {
                    *client == Client::Acknowledged && !database.rows.contains(&(i as u8))
                };
                world.bad_read = world.clients.iter().enumerate().any(missing);
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one owner", |_, world: &World| {
                !(world.databases[0].owner && world.databases[1].owner)
            }),
            Property::always("no write twice", |_, world: &World| {
                world.databases.iter().all(|one| one.rows.windows(2).all(|pair| pair[0] != pair[1]))
            }),
            Property::always("acknowledged writes are in the owner", |model: &Bounds, world: &World| {
                let owner = |side: usize| match model.fence {
                    // Without a fence, whoever the route says.
                    Fence::None => {
                        index(world.progress.owner()) == side
                            && matches!(world.progress.state, State::Watch | State::Follow)
                    }
                    Fence::Handler | Fence::Database => world.databases[side].owner,
                };
                (0..2).filter(|side| owner(*side)).all(|side| {
                    let rows = &world.databases[side].rows;
                    let acknowledged = |(i, (client, _)): (usize, &(Client, u8))| {
                        *client != Client::Acknowledged || rows.contains(&(i as u8))
                    };
                    world.clients.iter().enumerate().all(acknowledged)
                        && (world.outsider != Client::Acknowledged || rows.contains(&(model.writes as u8)))
                })
            }),
            Property::always("a client reads its own writes", |_, world: &World| !world.bad_read),
            Property::sometimes("cut", |_, world: &World| {
                world.progress.state == State::Watch
                    && !world.databases[1].feed.is_empty()
                    && world.clients.iter().all(|(client, _)| *client == Client::Acknowledged)
            }),
            Property::sometimes("rolled back with a write of the new side", |model: &Bounds, world: &World| {
                !model.rollback
                    || world.rolled_back
                        && world.progress.state == State::Follow
                        && world.progress.from == Side::Source
                        && !world.route.hold
                        && !world.databases[1].feed.is_empty()
                        && world.databases[0].rows == world.databases[1].rows
                        && world.clients.iter().all(|(client, _)| *client == Client::Acknowledged)
            }),
        ]
    }
}

impl Bounds {
    fn deliver(&self, world: &mut World, message: Message) {
        let newer = |database: &Database, epoch: u64| !self.compare_and_set || epoch > database.epoch;
        match message {
            Message::GiveUp { side, epoch } => {
                let database = &mut world.databases[side];
                if newer(database, epoch) {
                    let mark = Mark { position: database.feed.len() as u64, digest: digest(database) };
                    (database.owner, database.epoch, database.released) = (false, epoch, Some(mark));
                }
            }
            Message::Take { side, epoch, expect } => {
                let database = &mut world.databases[side];
                let same = |(position, rows): &(u64, String)| {
                    (!self.catch_up || database.applied >= *position)
                        && (!self.digest || !self.catch_up || digest(database) == *rows)
                };
                if newer(database, epoch) && expect.as_ref().is_none_or(same) {
                    (database.owner, database.epoch, database.released) = (true, epoch, None);
                }
            }
            Message::Route { version, epoch, hold, to } => {
                let changes =
                    if self.compare_and_set { version > world.route.version } else { version != world.route.version };
                if changes {
                    let to = if to == 0 { Side::Source } else { Side::Destination };
                    // Without the contract a hold is written down first, too.
                    let only_hold = self.impatient && (to, epoch) == (world.route.to, world.route.epoch);
                    world.route = Route { version, epoch, hold, to, shadow: false, canary: false };
                    if !only_hold {
                        world.saved = world.route.clone();
                    }
                }
            }
        }
    }
}
