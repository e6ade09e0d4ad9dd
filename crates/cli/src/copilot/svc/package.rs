//! `quarry svc package`: the template, without deploying it.

use super::deploy::{check_https, env_files};
use crate::copilot::cloud::{Cloud, environment_stack, output};
use crate::copilot::session::Session;
use crate::copilot::workspace::Workspace;
use crate::copilot::{Common, Local};
use anyhow::{Context as _, Result};
use quarry_deploy_kit::template::{self, Deployed};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  quarry svc package --name posts --env test > posts.yml")]
pub struct PackageArguments {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    app: Option<String>,
    /// The service.
    #[arg(long, short)]
    name: String,
    /// The environment.
    #[arg(long, short)]
    env: String,
    /// Write `<name>-<env>.stack.yml` into this directory instead of printing it.
    #[arg(long)]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub async fn run(arguments: PackageArguments, local: Local<'_>) -> Result<()> {
    let workspace = Workspace::find()?;
    let app = workspace.app(arguments.app.as_deref())?;
    let (name, environment) = (&arguments.name, &arguments.env);
    let service = workspace.service(name, &app, environment)?;
    // As the environment's manifest wants it, or as it is deployed.
    let mut https = !workspace.environment(environment, &app)?.certificates.is_empty();
    let there = match Session::open(&arguments.common, local).await {
        Ok(session) => session.environment(&app, Some(environment)).await.ok(),
        Err(_) => None,
    };
    if let Some((session, _)) = there {
        let cloud = Cloud { aws: &session.aws, say: session.say };
        if let Some(stack) = cloud.stack(&environment_stack(&app, environment)).await? {
            https = output(&stack, "HTTPSListenerArn").is_some();
        }
    }
    let env_files = env_files(&workspace, &service)?;
    let deployed = Deployed { app, environment: environment.clone(), https, env_files };
    check_https(&service, &deployed)?;
    let text = template::service(&service, &deployed)?;
    let Some(dir) = arguments.output_dir else {
        print!("{text}");
        return Ok(());
    };
    let path = dir.join(format!("{name}-{environment}.stack.yml"));
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
