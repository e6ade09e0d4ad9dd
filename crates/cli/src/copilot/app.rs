//! `quarry app`.

use super::cloud::{Cloud, environment_stack, regional_stack, service_stack};
use super::session::Session;
use super::state::Application;
use super::workspace::Workspace;
use super::{Common, Local};
use crate::table::table;
use anyhow::{Result, bail};
use serde_json::json;

#[derive(clap::Subcommand)]
pub enum AppCommand {
    /// Make an application, and let this directory belong to it.
    #[command(after_help = "Example:\n  quarry app init api")]
    Init {
        /// Its name; that of the directory's application if it is not given.
        name: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List the applications.
    #[command(after_help = "Example:\n  quarry app ls --json")]
    Ls {
        #[command(flatten)]
        common: Common,
    },
    /// Show an application: its environments and services.
    #[command(after_help = "Example:\n  quarry app show --name api")]
    Show {
        /// Its name; that of this directory's if it is not given.
        #[arg(long, short)]
        name: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Delete an application with all its services and environments.
    #[command(after_help = "Example:\n  quarry app delete --name api --yes")]
    Delete {
        /// Its name; that of this directory's if it is not given.
        #[arg(long, short)]
        name: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

pub async fn run(command: AppCommand, local: Local<'_>) -> Result<()> {
    match command {
        AppCommand::Init { name, common } => {
            let session = Session::open(&common, local).await?;
            let mut workspace = Workspace::find()?;
            let name = workspace.app(name.as_deref())?;
            init(&session, &mut workspace, &name).await?;
            let record = session.state().application(&name).await?;
            if common.json {
                println!("{}", serde_json::to_string_pretty(&record)?);
            }
            session
                .say
                .next(&[format!("Run `quarry env init --app {name} --name test` to make a place for its services.")]);
            Ok(())
        }
        AppCommand::Ls { common } => {
            let session = Session::open(&common, local).await?;
            let all = session.state().applications().await?;
            if common.json {
                println!("{}", serde_json::to_string_pretty(&json!({"applications": all}))?);
            } else {
                all.iter().for_each(|app| println!("{}", app.name));
            }
            Ok(())
        }
        AppCommand::Show { name, common } => show(name.as_deref(), &common, local).await,
        AppCommand::Delete { name, common } => {
            let session = Session::open(&common, local).await?;
            let mut workspace = Workspace::find()?;
            let name = name.or_else(|| workspace.app.clone());
            let Some(name) = name else { bail!("which application? Name it with --name") };
            delete(&session, &name).await?;
            if workspace.app.as_deref() == Some(&name) {
                workspace.release()?;
            }
            if common.json {
                println!("{}", json!({"deleted": name}));
            }
            Ok(())
        }
    }
}

/// Makes an application, if it is not there, and binds the workspace to it.
pub async fn init(session: &Session, workspace: &mut Workspace, name: &str) -> Result<()> {
    let state = session.state();
    check_name(name)?;
    let there = state.applications().await?.iter().any(|app| app.name == name);
    if !there {
        let record = Application {
            name: name.into(),
            account: session.account.clone(),
            domain: String::new(),
            version: "1.0".into(),
        };
        state.put_application(&record).await?;
    }
    workspace.claim(name)?;
    let word = if there { "The application is there" } else { "Made the application" };
    session.say.done(format!("{word}: {name} (copilot/.workspace names it)"));
    Ok(())
}

/// Names of applications, environments and services are parts of names of stacks, repositories and load balancers.
pub fn check_name(name: &str) -> Result<()> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !letters || !begins || name.len() > 40 || name.ends_with('-') || name.contains("--") {
        bail!("{name:?} cannot be a name: take small letters, digits and single dashes, a letter first, 40 at most");
    }
    Ok(())
}

async fn show(name: Option<&str>, common: &Common, local: Local<'_>) -> Result<()> {
    let session = Session::open(common, local).await?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => Workspace::find()?.app(None)?,
    };
    let state = session.state();
    let app = state.application(&name).await?;
    let (environments, services) = (state.environments(&name).await?, state.services(&name).await?);
    if common.json {
        let shown =
            json!({"name": app.name, "version": app.version, "environments": environments, "services": services});
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("Application {}\n", app.name);
    let rows = environments.iter().map(|e| [e.name.clone(), e.account.clone(), e.region.clone()]);
    println!("{}\n", table(["ENVIRONMENT", "ACCOUNT", "REGION"], rows));
    println!("{}", table(["SERVICE", "TYPE"], services.iter().map(|s| [s.name.clone(), s.kind.clone()])));
    Ok(())
}

async fn delete(session: &Session, app: &str) -> Result<()> {
    let state = session.state();
    state.application(app).await?;
    let (environments, services) = (state.environments(app).await?, state.services(app).await?);
    // All are reached before anything is deleted.
    let mut places = vec![session.clone()];
    for record in &environments {
        if places.iter().all(|place| !place.is(record)) {
            places.push(session.at(record).await?);
        }
    }
    places.iter().filter(|place| place.is_aws()).for_each(|place| session.say.warn(place.named()));
    session.confirm(&format!(
        "Delete the application {app} with {} services in {} environments, their data and images?",
        services.len(),
        environments.len()
    ))?;
    for environment in &environments {
        let place = places.iter().find(|place| place.is(environment)).unwrap_or(session);
        let cloud = Cloud { aws: &place.aws, say: session.say };
        for service in &services {
            let stack = service_stack(app, &environment.name, &service.name);
            cloud.delete(&stack, &format!("the service {} in {}", service.name, environment.name)).await?;
        }
        let stack = environment_stack(app, &environment.name);
        cloud.delete(&stack, &format!("the environment {}", environment.name)).await?;
        state.delete_environment(app, &environment.name).await?;
    }
    for place in &places {
        let cloud = Cloud { aws: &place.aws, say: session.say };
        cloud.delete(&regional_stack(app), "the repositories").await?;
    }
    for service in &services {
        state.delete_service(app, &service.name).await?;
    }
    state.delete_application(app).await?;
    session.say.done(format!("Deleted the application {app}; the manifests in copilot/ are as they were"));
    Ok(())
}
