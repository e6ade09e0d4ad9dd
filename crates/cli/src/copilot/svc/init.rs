//! `quarry svc init`: a manifest to begin with, and a repository.

use crate::copilot::session::Session;
use crate::copilot::state::ServiceRecord;
use crate::copilot::workspace::Workspace;
use crate::copilot::{Common, Local, app, ask, image};
use anyhow::{Context as _, Result, bail};
use quarry_deploy_kit::manifest::{Kind, NewImage, NewService, Platform, new_service};
use serde_json::json;
use std::io::IsTerminal as _;
use std::path::{Component, Path, PathBuf};

#[derive(Clone, clap::Args)]
#[command(after_help = "Examples:
  quarry svc init --app api --dockerfile ./posts/Dockerfile --name posts --svc-type \"Load Balanced Web Service\"
  quarry svc init --app api --compose docker-compose.yml")]
pub struct InitArguments {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    pub app: Option<String>,
    /// The service's name.
    #[arg(long, short)]
    pub name: Option<String>,
    /// "Load Balanced Web Service" or "Backend Service".
    #[arg(long, short = 't')]
    pub svc_type: Option<String>,
    /// The Dockerfile to build.
    #[arg(long, short, conflicts_with = "image")]
    pub dockerfile: Option<PathBuf>,
    /// An image that is there, instead of a Dockerfile.
    #[arg(long, short)]
    pub image: Option<String>,
    /// Write a manifest for each service of a Compose file, and say what of it was not taken over.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "svc_type", "dockerfile", "image", "port"])]
    pub compose: Option<PathBuf>,
    /// The port it listens on; that of the Dockerfile's EXPOSE if it is not given.
    #[arg(long)]
    pub port: Option<u16>,
    #[command(flatten)]
    pub common: Common,
}

pub async fn run(arguments: InitArguments, local: Local<'_>) -> Result<()> {
    let session = Session::open(&arguments.common, local).await?;
    let mut workspace = Workspace::find()?;
    let app = workspace.app(arguments.app.as_deref())?;
    if let Some(path) = &arguments.compose {
        return super::compose::init(&session, &mut workspace, &app, path).await;
    }
    let name = init(&session, &mut workspace, &app, &arguments).await?;
    let path = Workspace::manifest_of(&name);
    if arguments.common.json {
        println!("{}", json!({"name": name, "app": app, "manifest": path}));
    }
    let environments = session.state().environments(&app).await?;
    let environment = environments.first().map_or("test", |environment| environment.name.as_str());
    let mut next = vec![format!("Update your manifest {path} to change the defaults.")];
    if environments.is_empty() {
        next.push(format!("Run `quarry env init --app {app} --name test` to make an environment."));
    }
    next.push(format!(
        "Run `quarry svc deploy --name {name} --env {environment}` to deploy your service to the environment {environment}."
    ));
    session.say.next(&next);
    Ok(())
}

/// Writes the manifest, if there is none, and registers the service; its name.
pub async fn init(
    session: &Session,
    workspace: &mut Workspace,
    app: &str,
    arguments: &InitArguments,
) -> Result<String> {
    session.state().application(app).await?;
    let Some(name) = arguments.name.clone() else {
        bail!("how is the service called? Name it with --name (or let `quarry init` ask)")
    };
    app::check_name(&name)?;
    let path = Workspace::manifest_of(&name);
    let kind = match workspace.read(&path)? {
        Some(text) => {
            // Somebody's manifest stays as it is.
            let said = quarry_deploy_kit::manifest::kind_of(&path, &text)?;
            let kind = Kind::named(&said).map_err(|message| anyhow::anyhow!("{path}: {message}"))?;
            session.say.done(format!("The manifest for service {name} is at {path} already, and stays as it is"));
            kind
        }
        None => {
            let new = describe(workspace, &name, arguments)?;
            workspace.write_new(&path, &new_service(&new))?;
            session.say.done(format!("Wrote the manifest for service {name} at {path}"));
            let port = new.port.map_or(String::new(), |port| format!(" and port (:{port})"));
            session.say.line(format!("Your manifest contains configurations like your container size{port}."));
            new.kind
        }
    };
    workspace.claim(app)?;
    session.say.line("");
    image::repositories(session, app, std::slice::from_ref(&name)).await?;
    let record = ServiceRecord { app: app.into(), name: name.clone(), kind: kind.name().into() };
    session.state().put_service(&record).await?;
    Ok(name)
}

fn describe(workspace: &Workspace, name: &str, arguments: &InitArguments) -> Result<NewService> {
    let Some(kind) = &arguments.svc_type else {
        bail!("of which type is it? --svc-type {:?} or {:?}", Kind::ALL[0].name(), Kind::ALL[1].name())
    };
    let kind = Kind::named(kind).map_err(anyhow::Error::msg)?;
    let (image, exposed) = match (&arguments.dockerfile, &arguments.image) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the Dockerfile {}", path.display()))?;
            (NewImage::Dockerfile(from_root(&workspace.root, path)?), exposed(&text))
        }
        (None, Some(image)) => (NewImage::Location(image.clone()), None),
        (None, None) => bail!("what does it run? Give --dockerfile PATH or --image NAME"),
    };
    let mut port = arguments.port.or(exposed);
    if port.is_none() && kind == Kind::LoadBalanced {
        if !std::io::stdin().is_terminal() {
            bail!("on which port does it listen? The Dockerfile has no EXPOSE: give --port");
        }
        port = Some(ask::text("On which port does it listen?", Some("80"))?.parse().context("this is no port")?);
    }
    // The first one takes what no other takes.
    let others = workspace.services()?;
    let first = !others.iter().any(|(_, kind)| kind == Kind::LoadBalanced.name());
    let path = if first { "/".to_owned() } else { name.to_owned() };
    let platform = Platform::here();
    Ok(NewService { name: name.to_owned(), kind, image, port, platform, path })
}

/// The first port that a Dockerfile exposes.
fn exposed(text: &str) -> Option<u16> {
    let lines = text.lines().map(str::trim);
    let mut words = lines.filter_map(|line| line.split_once(char::is_whitespace));
    let (_, ports) = words.find(|(word, _)| word.eq_ignore_ascii_case("EXPOSE"))?;
    ports.split_whitespace().next()?.split('/').next()?.parse().ok()
}

/// A path as manifests have it: from the workspace's root.
pub(super) fn from_root(root: &Path, path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path)?;
    let mut clean = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    let relative = clean.strip_prefix(root).with_context(|| {
        format!("{} is outside of the workspace {}: manifests name files below it", path.display(), root.display())
    })?;
    Ok(relative.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_paths() {
        assert_eq!(exposed("FROM x\n# EXPOSE 1\n expose 3000/tcp 4000\nEXPOSE 5\n"), Some(3000));
        assert_eq!(exposed("FROM x\n"), None);
        let here = std::env::current_dir().unwrap();
        assert_eq!(from_root(&here, Path::new("./a/../b/Dockerfile")).unwrap(), "b/Dockerfile");
        assert!(from_root(&here, Path::new("/elsewhere/Dockerfile")).is_err());
    }
}
