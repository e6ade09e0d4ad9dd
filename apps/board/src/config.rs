//! Settings: flags, each with an environment variable, read once before anything is opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use cut_kit::http::Settings;
use cut_kit::postgres::Target;

use crate::db::Storage;
use crate::http::Peer;
use crate::links::Feature;

/// Which binary this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The monolith.
    Api,
    /// Users alone.
    Users,
    /// Threads alone.
    Threads,
    /// Posts alone.
    Posts,
    /// The page alone.
    Web,
}

/// Everything a binary needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which binary.
    pub role: Role,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it keeps its rows; `None` for the page.
    pub storage: Option<Storage>,
    /// A file to take rows from at the first start.
    pub import: Option<PathBuf>,
    /// Where users are, when not here.
    pub users: Option<Peer>,
    /// Where threads are, when not here.
    pub threads: Option<Peer>,
    /// Where posts are, when not here.
    pub posts: Option<Peer>,
    /// The admin listener of the cut, where the platform asks for it.
    pub cut: Option<Settings>,
    /// Whether features may be cut out of, or into, this database.
    pub cuttable: bool,
    /// The features that come into this database by a cut.
    pub destinations: Vec<Feature>,
    /// What is logged.
    pub log_level: tracing::Level,
}

impl Role {
    /// The service's name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Api => "api",
            Role::Users => "users",
            Role::Threads => "threads",
            Role::Posts => "posts",
            Role::Web => "web",
        }
    }

    /// The binary's name.
    pub fn binary(self) -> &'static str {
        match self {
            Role::Api => "board-api",
            Role::Users => "board-users",
            Role::Threads => "board-threads",
            Role::Posts => "board-posts",
            Role::Web => "board-web",
        }
    }

    /// The features in this binary.
    pub fn features(self) -> &'static [Feature] {
        match self {
            Role::Api => &[Feature::Users, Feature::Threads, Feature::Posts],
            Role::Users => &[Feature::Users],
            Role::Threads => &[Feature::Threads],
            Role::Posts => &[Feature::Posts],
            Role::Web => &[],
        }
    }

    /// Whether browsers get the page at `/`: from the monolith too, so that a reader sees the same
    /// before and after the split.
    pub fn has_page(self) -> bool {
        matches!(self, Role::Api | Role::Web)
    }

    fn about(self) -> &'static str {
        match self {
            Role::Api => "The message board as a monolith: users, threads and posts in one process",
            Role::Users => "The message board's users service",
            Role::Threads => "The message board's threads service",
            Role::Posts => "The message board's posts service",
            Role::Web => "The message board's page; it reads and writes through /api/ of its own origin",
        }
    }
}

#[derive(Parser)]
struct Common {
    /// Port to listen on, on every address; 0 lets the system choose
    #[arg(long, env = "PORT", default_value_t = 3000)]
    port: u16,
    /// error, warn, info (writes) or debug (every request)
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

#[derive(Args)]
struct Stored {
    /// SQLite file, made if it is not there [default: /data/<service>.db]
    #[arg(long, env = "DATABASE_PATH", value_parser = any_path())]
    database_path: Option<PathBuf>,
    /// PostgreSQL instead, for services on several hosts: postgres://user:password@host/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// JSON file {"users":[…],"threads":[…],"posts":[…]} whose rows fill empty tables once
    #[arg(long, env = "IMPORT", value_parser = any_path())]
    import: Option<PathBuf>,
    /// Base URL of the users service, where users are not in this process
    #[arg(long, env = "USERS_URL")]
    users_url: Option<String>,
    /// Base URL of the threads service, where threads are not in this process
    #[arg(long, env = "THREADS_URL")]
    threads_url: Option<String>,
    /// Base URL of the posts service, where posts are not in this process
    #[arg(long, env = "POSTS_URL")]
    posts_url: Option<String>,
    /// Port on 127.0.0.1 where a platform may cut features out of or into this database; needs CUT_ADMIN_SECRET too
    #[arg(long, env = "CUT_ADMIN_PORT")]
    cut_admin_port: Option<String>,
    /// What the platform shows on that port
    #[arg(long, env = "CUT_ADMIN_SECRET", hide_env_values = true)]
    cut_admin_secret: Option<String>,
    /// The features, with commas, that come into this database by a cut: they start empty and fenced
    #[arg(long, env = "CUT_DESTINATION")]
    cut_destination: Option<String>,
}

impl Config {
    /// Reads flags and environment; the error is clap's, with the usage.
    pub fn parse(role: Role, args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Config, clap::Error> {
        let mut command = Common::command().name(role.binary()).version(env!("CARGO_PKG_VERSION")).about(role.about());
        if role != Role::Web {
            command = Stored::augment_args(command);
        }
        let matches = command.try_get_matches_from_mut(args)?;
        let common = Common::from_arg_matches(&matches)?;
        let mut config = Config {
            role,
            address: (Ipv4Addr::UNSPECIFIED, common.port).into(),
            storage: None,
            import: None,
            users: None,
            threads: None,
            posts: None,
            cut: None,
            cuttable: false,
            destinations: Vec::new(),
            log_level: common.log_level,
        };
        if role != Role::Web {
            let stored = Stored::from_arg_matches(&matches)?;
            let wrong = |message| command.error(clap::error::ErrorKind::ValueValidation, message);
            let fill = || -> Result<(), String> {
                config.storage = Some(storage(role, stored.database_path, stored.database_url)?);
                config.import = filled(stored.import);
                config.users = peer("USERS_URL", stored.users_url)?;
                config.threads = peer("THREADS_URL", stored.threads_url)?;
                config.posts = peer("POSTS_URL", stored.posts_url)?;
                let port = stored.cut_admin_port.as_deref();
                config.cut = Settings::from_variables(port, stored.cut_admin_secret.as_deref())?;
                config.destinations = destinations(role, stored.cut_destination.as_deref().unwrap_or_default())?;
                config.cuttable = port.is_some_and(|port| !port.is_empty()) || !config.destinations.is_empty();
                if config.import.is_some() && !config.destinations.is_empty() {
                    return Err(
                        "CUT_DESTINATION says that rows come by a cut: give no IMPORT (IMPORT= takes it away)".into()
                    );
                }
                Ok(())
            };
            fill().map_err(wrong)?;
        }
        Ok(config)
    }
}

/// Also an empty one, which clap's own parser of paths refuses.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// An empty variable is the same as none: task definitions cannot take one away.
fn filled(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn peer(name: &str, url: Option<String>) -> Result<Option<Peer>, String> {
    let url = url.filter(|url| !url.is_empty());
    let peer = url.map(|url| Peer::parse(&url)).transpose();
    peer.map_err(|e| format!("{name}: {e}"))
}

fn destinations(role: Role, names: &str) -> Result<Vec<Feature>, String> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let feature = |name: &str| {
        let found = role.features().iter().find(|feature| feature.name() == name);
        found.copied().ok_or_else(|| format!("CUT_DESTINATION: {name:?} is no feature of {}", role.binary()))
    };
    names.map(feature).collect()
}

fn storage(role: Role, path: Option<PathBuf>, url: Option<String>) -> Result<Storage, String> {
    let path = filled(path);
    match (path, url.filter(|url| !url.is_empty())) {
        (Some(_), Some(_)) => Err("give DATABASE_PATH (SQLite) or DATABASE_URL (PostgreSQL), not both".into()),
        (Some(path), None) => Ok(Storage::Sqlite(path)),
        (None, None) => Ok(Storage::Sqlite(format!("/data/{}.db", role.name()).into())),
        (None, Some(url)) => {
            let scheme = url.split("://").next().unwrap_or_default();
            match scheme {
                "postgres" | "postgresql" if url.contains("://") => match Target::parse(&url, "board") {
                    Ok(_) => Ok(Storage::Postgres(url)),
                    Err(problem) => Err(format!("DATABASE_URL: {}", problem.message)),
                },
                _ => Err("DATABASE_URL must begin with postgres://; several hosts cannot share a SQLite \
                     file, and on one host DATABASE_PATH names it"
                    .into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_starts_without_rows() {
        let parse = |settings: &[&str]| {
            let all = ["board-posts"].iter().chain(settings).map(std::ffi::OsString::from);
            Config::parse(Role::Posts, all)
        };
        let config = parse(&["--cut-destination", "posts", "--import", ""]).unwrap();
        assert_eq!((config.destinations, config.cuttable, config.cut), (vec![Feature::Posts], true, None));
        assert!(parse(&["--cut-destination", "posts", "--import", "x.json"]).is_err());
        assert!(parse(&["--cut-destination", "users"]).is_err());
        let config = parse(&["--cut-admin-port", "9100", "--cut-admin-secret", "0123456789abcdef"]).unwrap();
        assert_eq!(config.cut.unwrap().port, 9100);
        assert!(!parse(&["--cut-admin-port", "", "--cut-destination", ""]).unwrap().cuttable);
    }

    #[test]
    fn storage_is_named_clearly() {
        let sqlite = |path: &str| Ok(Storage::Sqlite(path.into()));
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(storage(Role::Posts, None, None), sqlite("/data/posts.db"));
        assert_eq!(storage(Role::Api, Some("/x".into()), url("")), sqlite("/x"));
        let postgres = "postgres://board@db/board";
        assert_eq!(storage(Role::Api, None, url(postgres)), Ok(Storage::Postgres(postgres.into())));
        for bad in ["sqlite:///data/a.db", "mysql://x/y", "/data/a.db", "postgres://h/d?sslmode=verify-full"] {
            assert!(storage(Role::Api, None, url(bad)).is_err(), "{bad}");
        }
        assert!(storage(Role::Api, Some("/x".into()), url(postgres)).is_err());
    }
}
