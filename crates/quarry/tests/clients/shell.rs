//! A shell after `eval "$(quarry env)"`.

use quarry_testkit::Platform;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Shell {
    env: Vec<(String, String)>,
}

impl Shell {
    pub fn new(platform: &Platform) -> Self {
        Self { env: platform.env().unwrap() }
    }

    /// A variable of `quarry env`.
    pub fn var(&self, name: &str) -> &str {
        self.env.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// In the checkout's root, with a person's own AWS configuration out of the way.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(checkout()).envs(self.env.iter().cloned()).stdin(Stdio::null());
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("AWS_PAGER", "");
        command
    }

    /// A line as typed; what it prints on standard output. `Err`: what it said when it failed.
    pub fn run(&self, line: &str) -> Result<String, String> {
        said(self.command(Path::new("bash")).args(["-c", line]).output().unwrap())
    }

    /// `aws …` as typed. `Null` when it prints nothing.
    pub fn aws(&self, arguments: &str) -> Result<Value, String> {
        let out = self.run(&format!("aws {arguments} --output json"))?;
        if out.trim().is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&out).unwrap_or_else(|_| Value::String(out.trim().to_owned())))
    }

    /// `aws …` that must go well.
    #[track_caller]
    pub fn aws_ok(&self, arguments: &str) -> Value {
        self.aws(arguments).unwrap_or_else(|said| panic!("aws {arguments}: {said}"))
    }

    /// `aws … --query …` that must give one text.
    #[track_caller]
    pub fn aws_text(&self, arguments: &str) -> String {
        let value = self.aws_ok(arguments);
        value.as_str().unwrap_or_else(|| panic!("aws {arguments}: {value}")).to_owned()
    }

    /// `aws …` that must be refused with this code.
    #[track_caller]
    pub fn aws_refused(&self, arguments: &str, code: &str) -> String {
        match self.aws(arguments) {
            Ok(out) => panic!("aws {arguments} was not refused: {out}"),
            Err(said) => {
                assert!(said.contains(&format!("({code})")), "aws {arguments}: {said}");
                said
            }
        }
    }
}

/// Standard output, or standard error when it failed.
pub fn said(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
