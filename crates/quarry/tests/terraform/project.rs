//! A Terraform project in a directory of its own.

use quarry_testkit::Platform;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Names the directory that holds provider packages as a file-system mirror.
const MIRROR: &str = "QUARRY_TF_MIRROR";
/// Where mirrors usually are.
const USUAL: [&str; 4] =
    ["/opt/tf-plugins", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins", "/opt/terraform/plugins"];
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws";

pub struct Project {
    terraform: PathBuf,
    /// Holds what was copied.
    _root: TempDir,
    /// Where Terraform runs.
    directory: PathBuf,
    env: Vec<(String, String)>,
}

/// The mirror that has the AWS provider, or `None` after saying that its test is skipped. Under
/// `CI=true` a missing one fails the test instead.
pub fn mirror() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let of_user =
        home.iter().flat_map(|home| [home.join(".terraform.d/plugins"), home.join(".local/share/terraform/plugins")]);
    let named = std::env::var_os(MIRROR).map(PathBuf::from);
    let all = named.into_iter().chain(of_user).chain(USUAL.map(PathBuf::from));
    let found = all.into_iter().find(|directory| directory.join(PROVIDER).is_dir());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no provider mirror ({MIRROR}), and CI=true");
        println!("skipped: no mirror with {PROVIDER}; {MIRROR} can name one");
    }
    found
}

impl Project {
    /// Copies a configuration of these tests and prepares it.
    pub fn new(platform: &Platform, terraform: &Path, mirror: &Path, name: &str) -> Result<Self, String> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform");
        Self::at(platform, terraform, mirror, &tests.join(name), ".")
    }

    /// Copies a directory and prepares the configuration in one of its folders.
    pub fn at(platform: &Platform, terraform: &Path, mirror: &Path, tree: &Path, folder: &str) -> Result<Self, String> {
        let root = tempfile::Builder::new().prefix("tf").tempdir().map_err(|e| e.to_string())?;
        copy(tree, root.path()).map_err(|e| format!("{}: {e}", tree.display()))?;
        let directory = root.path().join(folder);
        let configuration = root.path().join("terraform.rc");
        let text = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            mirror.display()
        );
        std::fs::write(&configuration, text).map_err(|e| e.to_string())?;
        let mut env = platform.env().map_err(|e| e.to_string())?;
        let more = [
            ("TF_CLI_CONFIG_FILE", configuration.to_str().unwrap_or_default()),
            ("TF_IN_AUTOMATION", "1"),
            ("CHECKPOINT_DISABLE", "1"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        env.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let project = Self { terraform: terraform.to_owned(), _root: root, directory, env };
        project.run(&["init", "-no-color", "-input=false"])?;
        Ok(project)
    }

    /// Makes it so; what Terraform said.
    pub fn apply(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(&[&["apply", "-no-color", "-input=false", "-auto-approve"], arguments].concat())
    }

    /// A plan has nothing to do.
    pub fn settled(&self, arguments: &[&str]) -> Result<(), String> {
        let arguments = [&["plan", "-no-color", "-input=false", "-detailed-exitcode"], arguments].concat();
        let output = self.output(&arguments)?;
        match output.status.code() {
            Some(0) => Ok(()),
            _ => Err(format!("the plan is not empty:\n{}", said(&output))),
        }
    }

    /// The output `imports`: identifiers by address.
    pub fn imports(&self) -> Result<BTreeMap<String, String>, String> {
        let printed = self.run(&["output", "-no-color", "-json", "imports"])?;
        serde_json::from_str(&printed).map_err(|e| format!("{e}: {printed}"))
    }

    /// Takes resources out of the state; they live on.
    pub fn forget(&self, imports: &BTreeMap<String, String>) -> Result<(), String> {
        let addresses: Vec<&str> = imports.keys().map(String::as_str).collect();
        self.run(&[&["state", "rm", "-no-color"], addresses.as_slice()].concat()).map(|_| ())
    }

    /// Imports them again and applies; what Terraform said.
    pub fn import(&self, imports: &BTreeMap<String, String>, arguments: &[&str]) -> Result<String, String> {
        let block = |(to, id): (&String, &String)| format!("import {{\n  to = {to}\n  id = {id:?}\n}}\n");
        let blocks: String = imports.iter().map(block).collect();
        std::fs::write(self.directory.join("imports.tf"), blocks).map_err(|e| e.to_string())?;
        self.apply(arguments)
    }

    /// One output, as text.
    #[allow(dead_code)]
    pub fn output_of(&self, name: &str) -> Result<String, String> {
        self.run(&["output", "-no-color", "-raw", name])
    }

    pub fn destroy(&self, arguments: &[&str]) -> Result<(), String> {
        self.run(&[&["destroy", "-no-color", "-input=false", "-auto-approve"], arguments].concat())?;
        let left = self.run(&["state", "list", "-no-color"])?;
        if left.trim().is_empty() { Ok(()) } else { Err(format!("the state still has:\n{left}")) }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.output(arguments)?;
        if !output.status.success() {
            return Err(format!("terraform {}:\n{}", arguments.join(" "), said(&output)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, String> {
        let mut command = Command::new(&self.terraform);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env_remove("TF_PLUGIN_CACHE_DIR");
        command.envs(self.env.iter().cloned()).output().map_err(|e| e.to_string())
    }
}

/// Files and folders, but for what Terraform itself leaves beside them.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if entry.is_dir() && name.to_str().is_some_and(|name| !name.starts_with('.')) {
            std::fs::create_dir(to.join(&name))?;
            copy(&entry, &to.join(name))?;
        } else if entry.extension().is_some_and(|kind| kind == "tf") {
            std::fs::copy(&entry, to.join(name))?;
        }
    }
    Ok(())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
