//! `quarry svc delete`.

use super::Of;
use crate::copilot::cloud::{Cloud, service_stack};
use crate::copilot::env::{Needs, provide};
use crate::copilot::session::Session;
use crate::copilot::state::EnvironmentRecord;
use crate::copilot::{Local, image};
use anyhow::Result;
use serde_json::json;

pub async fn run(of: &Of, local: Local<'_>) -> Result<()> {
    let (session, _, app, name) = of.open(local).await?;
    let state = session.state();
    let all = state.environments(&app).await?;
    let chosen: Vec<_> = match &of.env {
        Some(env) => vec![state.environment(&app, env).await?],
        None => all.clone(),
    };
    // All are reached before anything is deleted; those that are not chosen keep what they have.
    let mut sessions = Vec::new();
    for record in &chosen {
        sessions.push(session.at(record).await?);
    }
    let places: Vec<_> = chosen.iter().map(|record| record.name.as_str()).collect();
    sessions.iter().filter(|place| place.is_aws()).for_each(|place| session.say.warn(place.named()));
    session.confirm(&format!("Delete the service {name} in {}?", places.join(", ")))?;
    for (record, session) in chosen.iter().zip(&sessions) {
        let cloud = Cloud { aws: &session.aws, say: session.say };
        let what = format!("the service {name} in {}", record.name);
        cloud.delete(&service_stack(&app, &record.name, &name), &what).await?;
        let none = Needs { service: &name, load_balancer: false, nat: false };
        // An environment that is gone itself needs nothing to be taken back.
        let there = cloud.stack(&crate::copilot::cloud::environment_stack(&app, &record.name)).await?;
        if there.is_some() {
            provide(session, record, none).await?;
        }
    }
    // Its repositories go where no environment has it any more; the service is forgotten where none has it at all.
    // What cannot be asked may have it.
    let mut left: Vec<&EnvironmentRecord> = Vec::new();
    for record in &all {
        let stack = service_stack(&app, &record.name, &name);
        let gone = match session.at(record).await {
            Ok(there) => Cloud { aws: &there.aws, say: there.say }.stack(&stack).await?.is_none(),
            Err(_) => false,
        };
        if !gone {
            left.push(record);
        }
    }
    let mut emptied: Vec<&Session> = Vec::new();
    let home = session.home();
    for place in sessions.iter().chain([&home]) {
        let same = |other: &&Session| (&other.account, other.region()) == (&place.account, place.region());
        if !emptied.iter().any(same) && left.iter().all(|record| !place.is(record)) {
            emptied.push(place);
        }
    }
    for place in emptied {
        image::remove_repositories(place, &app, &name).await?;
    }
    if left.is_empty() {
        state.delete_service(&app, &name).await?;
    }
    session.say.done(format!("Deleted the service {name}; its manifest is as it was"));
    if session.say.json {
        println!("{}", json!({"deleted": name, "environments": places}));
    }
    Ok(())
}
