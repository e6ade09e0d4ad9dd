//! `quarry init`: the questions for those who give no flags.

use super::session::Session;
use super::workspace::Workspace;
use super::{Common, Local, app, ask, env, svc};
use anyhow::{Result, bail};
use quarry_deploy_kit::manifest::Kind;
use std::path::{Path, PathBuf};

/// How deep Dockerfiles are looked for.
const DEPTH: usize = 3;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  quarry init
  quarry init --app api --name api --dockerfile ./Dockerfile --svc-type \"Load Balanced Web Service\" --deploy")]
#[group(id = "first")]
pub struct InitArguments {
    #[command(flatten)]
    service: svc::InitArguments,
    /// The environment that it is deployed to.
    #[arg(long, short, default_value = "test")]
    env: String,
    /// Deploy it without asking.
    #[arg(long)]
    deploy: bool,
    /// The tag that images are pushed under.
    #[arg(long, default_value = "latest")]
    tag: String,
}

pub async fn run(mut arguments: InitArguments, local: Local<'_>) -> Result<()> {
    let common: Common = arguments.service.common.clone();
    let session = Session::open(&common, local).await?;
    let mut workspace = Workspace::find()?;
    if arguments.service.compose.is_some() {
        bail!("this asks about one service: for a Compose file take `quarry svc init --compose FILE`");
    }
    session.say.line("This sets up an application with one service, and deploys it when you want that.\n");
    let app = match (&arguments.service.app, &workspace.app) {
        (Some(app), _) => workspace.app(Some(app))?,
        (None, Some(app)) => app.clone(),
        (None, None) => choose_app(&session).await?,
    };
    app::check_name(&app)?;
    fill(&mut arguments.service, &workspace)?;
    app::init(&session, &mut workspace, &app).await?;
    let name = svc::init(&session, &mut workspace, &app, &arguments.service).await?;
    let deploy = arguments.deploy
        || session.yes
        || ask::confirm(&format!("\nDeploy {name} to the environment {}?", arguments.env))?;
    if !deploy {
        session.say.next(&[
            format!("Update your manifest {} to change the defaults.", Workspace::manifest_of(&name)),
            format!("Run `quarry env init --app {app} --name {}` to make the environment.", arguments.env),
            format!("Run `quarry svc deploy --name {name} --env {}` to deploy your service.", arguments.env),
        ]);
        return Ok(());
    }
    let known = session.state().environments(&app).await?;
    if known.iter().all(|environment| environment.name != arguments.env) {
        env::init(&session, &mut workspace, &app, &arguments.env).await?;
    }
    let (session, record) = session.environment(&app, Some(&arguments.env)).await?;
    session.agree(&format!("Deploy {name} to the environment {} there?", record.name))?;
    let options = svc::Options { tag: &arguments.tag, force: false, no_rollback: false };
    let done = svc::deploy(&session, &workspace, &record, &name, &options).await?;
    if common.json {
        println!("{}", serde_json::to_string_pretty(&done)?);
    }
    Ok(())
}

async fn choose_app(session: &Session) -> Result<String> {
    let known: Vec<_> = session.state().applications().await?.into_iter().map(|app| app.name).collect();
    if !known.is_empty() {
        let choices: Vec<_> = known.iter().cloned().chain(["a new one".to_owned()]).collect();
        let chosen = ask::choice("Which application does this belong to?", &choices)?;
        if let Some(name) = known.get(chosen) {
            return Ok(name.clone());
        }
    }
    ask::text("What is the application called?", None)
}

/// Asks for what no flag said.
fn fill(service: &mut svc::InitArguments, workspace: &Workspace) -> Result<()> {
    if service.svc_type.is_none() && (service.name.is_none() || !is_there(workspace, service)?) {
        let kinds = [
            format!("{} (requests from outside, through the load balancer)", Kind::LoadBalanced.name()),
            format!("{} (only other services reach it, by its name)", Kind::Backend.name()),
        ];
        let chosen = ask::choice("Which type of service is it?", &kinds)?;
        service.svc_type = Some(Kind::ALL[chosen].name().to_owned());
    }
    if service.name.is_none() {
        service.name = Some(ask::text("What is the service called?", None)?);
    }
    if service.dockerfile.is_none() && service.image.is_none() && !is_there(workspace, service)? {
        let found = dockerfiles(&std::env::current_dir()?)?;
        let mut choices: Vec<_> = found.iter().map(|path| path.display().to_string()).collect();
        choices.push("an image that is there".into());
        let chosen = ask::choice("Which Dockerfile?", &choices)?;
        match found.get(chosen) {
            Some(path) => service.dockerfile = Some(path.clone()),
            None => service.image = Some(ask::text("What is the image called?", None)?),
        }
    }
    Ok(())
}

/// Whether the service has its manifest already.
fn is_there(workspace: &Workspace, service: &svc::InitArguments) -> Result<bool> {
    let Some(name) = &service.name else { return Ok(false) };
    Ok(workspace.read(&Workspace::manifest_of(name))?.is_some())
}

/// Dockerfiles below a directory, as paths from there.
fn dockerfiles(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH && !name.starts_with('.') && name != "node_modules" && name != "target" {
                left.push((path, depth + 1));
            } else if kind.is_file() && (name == "Dockerfile" || name.starts_with("Dockerfile.")) {
                found.extend(path.strip_prefix(root).map(Path::to_path_buf));
            }
        }
        if found.len() > 200 {
            bail!("there are very many Dockerfiles here: name one with --dockerfile");
        }
    }
    found.sort();
    Ok(found)
}
