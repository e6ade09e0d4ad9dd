//! `quarry svc delete`.

use super::Of;
use crate::copilot::cloud::{Cloud, service_stack};
use crate::copilot::env::{Needs, provide};
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
    chosen.iter().try_for_each(|record| session.reaches(record))?;
    let places: Vec<_> = chosen.iter().map(|record| record.name.as_str()).collect();
    session.confirm(&format!("Delete the service {name} in {}?", places.join(", ")))?;
    let cloud = Cloud { aws: &session.aws, say: session.say };
    for record in &chosen {
        let what = format!("the service {name} in {}", record.name);
        cloud.delete(&service_stack(&app, &record.name, &name), &what).await?;
        let none = Needs { service: &name, load_balancer: false, nat: false };
        // An environment that is gone itself needs nothing to be taken back.
        let there = cloud.stack(&crate::copilot::cloud::environment_stack(&app, &record.name)).await?;
        if there.is_some() {
            provide(&session, record, none).await?;
        }
    }
    let mut elsewhere = false;
    for record in &all {
        elsewhere |= cloud.stack(&service_stack(&app, &record.name, &name)).await?.is_some();
    }
    if !elsewhere {
        image::remove_repositories(&session, &app, &name).await?;
        state.delete_service(&app, &name).await?;
    }
    session.say.done(format!("Deleted the service {name}; its manifest is as it was"));
    if session.say.json {
        println!("{}", json!({"deleted": name, "environments": places}));
    }
    Ok(())
}
