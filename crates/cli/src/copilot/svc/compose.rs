//! `quarry svc init --compose`: a manifest for each service of a Compose file.

use super::init::from_root;
use crate::copilot::image;
use crate::copilot::session::Session;
use crate::copilot::state::ServiceRecord;
use crate::copilot::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use quarry_deploy_kit::compose::{At, Fate, convert};
use quarry_deploy_kit::manifest::Kind;
use serde_json::json;
use std::path::Path;

pub async fn init(session: &Session, workspace: &mut Workspace, app: &str, path: &Path) -> Result<()> {
    session.state().application(app).await?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = path.display().to_string();
    let from_root = from_root(&workspace.root, path)?;
    let dir = from_root.rsplit_once('/').map_or("", |(dir, _)| dir);
    let others = workspace.services()?;
    let has_root = others.iter().any(|(_, kind)| kind == Kind::LoadBalanced.name());
    let composed = convert(&text, At { file: &file, dir, has_root })?;
    let there: Vec<_> =
        composed.services.iter().filter(|new| others.iter().any(|(name, _)| *name == new.name)).collect();
    if let Some(first) = there.first() {
        bail!("{} is there already: move it away, so that nothing of it is lost", Workspace::manifest_of(&first.name));
    }
    workspace.claim(app)?;
    for service in &composed.services {
        let path = Workspace::manifest_of(&service.name);
        workspace.write_new(&path, &service.manifest)?;
        let port = service.port.map_or(String::new(), |port| format!(", port {port}"));
        session.say.done(format!("Wrote {path}: {}{port}", service.kind.name()));
    }
    let built = composed.services.iter().filter(|service| service.builds);
    let built: Vec<_> = built.map(|service| service.name.clone()).collect();
    if !built.is_empty() {
        image::repositories(session, app, &built).await?;
    }
    for service in &composed.services {
        let record =
            ServiceRecord { app: app.into(), name: service.name.clone(), kind: service.kind.name().to_owned() };
        session.state().put_service(&record).await?;
    }
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for note in &composed.notes {
        let at = format!("{file}:{}", note.line);
        match &note.fate {
            Fate::Taken(into) => taken.push(json!({"at": at, "field": note.field, "into": into})),
            Fate::Left(why) => left.push(json!({"at": at, "field": note.field, "why": why})),
        }
    }
    if session.say.json {
        let services: Vec<_> = composed.services.iter().map(|service| &service.name).collect();
        let shown = json!({"app": app, "services": services, "taken": taken, "left": left});
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let told = |notes: &[serde_json::Value], what: &str, between: &str| {
        for note in notes {
            let of = |name: &str| note[name].as_str().unwrap_or_default();
            session.say.line(format!("  {} {}{between}{}", of("at"), of("field"), of(what)));
        }
    };
    session.say.line("\nTaken over:");
    told(&taken, "into", " → ");
    if !left.is_empty() {
        session.say.line("\nNot taken over:");
        told(&left, "why", ": ");
    }
    let first = composed.services.first().map_or("NAME", |service| service.name.as_str());
    session.say.line("");
    session.say.next(&[
        "Look through the manifests in copilot/.".into(),
        format!("Run `quarry svc deploy --name {first} --env test` for each of them, those that others need first."),
    ]);
    Ok(())
}
