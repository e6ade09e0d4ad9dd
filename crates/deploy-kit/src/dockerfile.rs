//! Dockerfiles, as far as an image from scratch needs them.
//!
//! Served: `FROM scratch`, `ARG`, `COPY` (`--chown` with numbers, `--chmod`, `--link`), `ADD` of files that
//! are no archives, `ENV`, `EXPOSE`, `WORKDIR`,
//! `USER`, `ENTRYPOINT` and `CMD` in exec form, `LABEL`, `VOLUME`, `STOPSIGNAL`. Anything else is an error that says
//! where it stands and what to do instead. The rules are those of Docker's Dockerfile reference.

mod lines;
mod parse;
mod words;

use std::collections::BTreeMap;

/// A Dockerfile with its variables filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its name in errors.
    pub name: String,
    /// In order, without FROM and ARG.
    pub steps: Vec<Step>,
}

/// An instruction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// First line of it, from 1.
    pub line: usize,
    /// As written, on one line: for the image's history.
    pub text: String,
    pub instruction: Instruction,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    Copy {
        sources: Vec<String>,
        target: String,
        owner: (u32, u32),
        mode: Option<u32>,
        /// It is an ADD, which would unpack an archive.
        unpacks: bool,
    },
    Env(Vec<(String, String)>),
    /// `<port>/<protocol>`.
    Expose(Vec<String>),
    /// As written: absolute, or relative to the one before.
    Workdir(String),
    User(String),
    Entrypoint(Vec<String>),
    Cmd(Vec<String>),
    Label(Vec<(String, String)>),
    Volume(Vec<String>),
    StopSignal(String),
}

/// What is wrong in a Dockerfile, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct DockerfileError {
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl Dockerfile {
    /// Reads a Dockerfile. `name`: its name in errors; `arguments`: values for its ARGs.
    ///
    /// # Errors
    /// The first thing that is wrong or not served, with its line.
    pub fn parse(name: &str, text: &str, arguments: &BTreeMap<String, String>) -> Result<Self, DockerfileError> {
        let at = |(line, message)| DockerfileError { file: name.to_owned(), line, message };
        let steps = parse::steps(text, arguments).map_err(at)?;
        Ok(Self { name: name.to_owned(), steps })
    }
}
