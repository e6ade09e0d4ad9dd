//! The directory `copilot/` of a project: whose it is, and the manifests in it.

use anyhow::{Context as _, Result, bail};
use quarry_deploy_kit::manifest::{Environment, Reading, Service, kind_of};
use std::path::{Path, PathBuf};

/// A project's files.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Where `copilot/` is, or will be. Paths in manifests start here.
    pub root: PathBuf,
    /// The application, if `copilot/.workspace` names one.
    pub app: Option<String>,
}

impl Workspace {
    /// That of the current directory or of one above it; else a new one here.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir()?;
        let root = here.ancestors().find(|dir| dir.join("copilot").is_dir());
        let root = root.map_or_else(|| here.clone(), Path::to_path_buf);
        let path = root.join("copilot/.workspace");
        let app = match std::fs::read_to_string(&path) {
            Ok(text) => Some(application(&text).with_context(|| {
                format!("{} names no application: write a line `application: <name>` into it", path.display())
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { root, app })
    }

    /// The application that a command is for: the flag's, or the workspace's.
    pub fn app(&self, flag: Option<&str>) -> Result<String> {
        match (flag, &self.app) {
            (Some(flag), Some(app)) if flag != app => bail!(
                "this workspace belongs to the application {app}, not to {flag}: go to another directory, or change \
                 {}/copilot/.workspace",
                self.root.display()
            ),
            (Some(flag), _) => Ok(flag.to_owned()),
            (None, Some(app)) => Ok(app.clone()),
            (None, None) => bail!("which application? Name it with --app, or run `quarry app init` in this directory"),
        }
    }

    /// Writes `copilot/.workspace`, in Copilot's form.
    pub fn claim(&mut self, app: &str) -> Result<()> {
        if self.app.as_deref() == Some(app) {
            return Ok(());
        }
        let dir = self.root.join("copilot");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(".workspace");
        std::fs::write(&path, format!("application: {app}\npath: \"\"\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.app = Some(app.to_owned());
        Ok(())
    }

    pub fn release(&mut self) -> Result<()> {
        let path = self.root.join("copilot/.workspace");
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.app = None;
        Ok(())
    }

    /// `copilot/<name>/manifest.yml`, as it is printed.
    pub fn manifest_of(name: &str) -> String {
        format!("copilot/{name}/manifest.yml")
    }

    pub fn environment_manifest_of(name: &str) -> String {
        format!("copilot/environments/{name}/manifest.yml")
    }

    /// Writes a file that is not there yet; whether it was written.
    pub fn write_new(&self, relative: &str, text: &str) -> Result<bool> {
        let path = self.root.join(relative);
        if path.exists() {
            return Ok(false);
        }
        let failed = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(path.parent().unwrap_or(&path)).with_context(failed)?;
        std::fs::write(&path, text).with_context(failed)?;
        Ok(true)
    }

    pub fn read(&self, relative: &str) -> Result<Option<String>> {
        match std::fs::read_to_string(self.root.join(relative)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.root.join(relative).display())),
        }
    }

    /// The services that have manifests here, with their types, by name.
    pub fn services(&self) -> Result<Vec<(String, String)>> {
        let dir = self.root.join("copilot");
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.path().is_dir() {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = Self::manifest_of(&name);
            if let Some(text) = self.read(&path)? {
                found.push((name, kind_of(&path, &text)?));
            }
        }
        found.sort();
        Ok(found)
    }

    /// What a service wants in an environment.
    pub fn service(&self, name: &str, app: &str, environment: &str) -> Result<Service> {
        let path = Self::manifest_of(name);
        let Some(text) = self.read(&path)? else {
            let known: Vec<_> = self.services()?.into_iter().map(|(name, _)| name).collect();
            bail!("there is no {path} under {}: the services here are {}", self.root.display(), listed(&known));
        };
        for (folder, instead) in [
            ("addons", "make its resources with a stack of your own (`aws cloudformation deploy`)"),
            ("overrides", "write what you change into the manifest"),
        ] {
            let dir = format!("copilot/{name}/{folder}");
            if self.root.join(&dir).is_dir() {
                bail!("{dir}: {folder} are not supported: {instead}, and move the directory away");
            }
        }
        let service = Service::read(&path, &text, &reading(app, environment))?;
        if service.name != name {
            bail!("{path}: its name is {}, and its directory's is {name}: they must be the same", service.name);
        }
        Ok(service)
    }

    /// What an environment is like; without a manifest as by default.
    pub fn environment(&self, name: &str, app: &str) -> Result<Environment> {
        let path = Self::environment_manifest_of(name);
        for folder in ["addons", "overrides"] {
            let dir = format!("copilot/environments/{folder}");
            if self.root.join(&dir).is_dir() {
                bail!("{dir}: {folder} of environments are not supported: make the resources with a stack of your own");
            }
        }
        match self.read(&path)? {
            Some(text) => Ok(Environment::read(&path, &text, &reading(app, name))?),
            None => Ok(Environment::new(name)),
        }
    }
}

fn reading(app: &str, environment: &str) -> Reading {
    Reading { app: app.into(), environment: environment.into(), shell: std::env::vars().collect() }
}

/// The `application` in `.workspace`.
fn application(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("application:"))?;
    Some(value.trim().trim_matches(['\'', '"']).to_owned()).filter(|name| !name.is_empty())
}

pub fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_file_is_copilots() {
        assert_eq!(application("application: api\npath: \"\"\nversion: v1.28.0\n").as_deref(), Some("api"));
        assert_eq!(application("application: 'api'\n").as_deref(), Some("api"));
        assert_eq!(application("path: x\n"), None);
    }

    #[test]
    fn addons_are_refused_by_name_and_new_files_do_not_replace_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut workspace = Workspace { root: dir.path().to_owned(), app: None };
        workspace.claim("api").unwrap();
        assert!(workspace.app(Some("other")).unwrap_err().to_string().contains("belongs to the application api"));
        let text = "name: web\ntype: Backend Service\nimage: {location: x}\n";
        assert!(workspace.write_new("copilot/web/manifest.yml", text).unwrap());
        assert!(!workspace.write_new("copilot/web/manifest.yml", "other").unwrap());
        assert_eq!(workspace.service("web", "api", "test").unwrap().name, "web");
        assert_eq!(workspace.services().unwrap(), [("web".to_owned(), "Backend Service".to_owned())]);
        std::fs::create_dir(dir.path().join("copilot/web/addons")).unwrap();
        let error = workspace.service("web", "api", "test").unwrap_err().to_string();
        assert!(error.contains("copilot/web/addons: addons are not supported"), "{error}");
    }
}
