//! `quarry svc pause` and `resume`: a parameter of the service's stack.

use super::Of;
use crate::copilot::Local;
use crate::copilot::cloud::{Cloud, Wanted};
use anyhow::{Context as _, Result};
use serde_json::json;

pub async fn set(of: &Of, paused: bool, local: Local<'_>) -> Result<()> {
    let (session, deployed) = of.deployed(local).await?;
    if paused {
        session.confirm(&format!("Stop all tasks of {} in {}?", deployed.name, deployed.record.name))?;
    } else {
        session.agree(&format!("Start the tasks of {} in {}?", deployed.name, deployed.record.name))?;
    }
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = cloud.stack(&deployed.stack).await?.context("the service's stack is gone")?;
    let now = stack.parameters.into_iter().flatten();
    let mut parameters: std::collections::BTreeMap<_, _> =
        now.filter_map(|p| Some((p.parameter_key?, p.parameter_value.unwrap_or_default()))).collect();
    parameters.insert("Paused".into(), paused.to_string());
    let record = &deployed.record;
    let wanted = Wanted {
        name: &deployed.stack,
        what: &format!("the service {}", deployed.name),
        template: None,
        parameters,
        tags: &[
            ("copilot-application", &record.app),
            ("copilot-environment", &record.name),
            ("copilot-service", &deployed.name),
        ],
        no_rollback: false,
    };
    cloud.deploy(wanted).await?;
    let word = if paused { "Paused" } else { "Resumed" };
    session.say.done(format!("{word} {} in {}", deployed.name, record.name));
    if paused {
        session.say.next(&[format!(
            "Run `quarry svc resume --name {} --env {}` to start it again.",
            deployed.name, record.name
        )]);
    }
    if session.say.json {
        println!("{}", json!({"service": deployed.name, "environment": record.name, "paused": paused}));
    }
    Ok(())
}
