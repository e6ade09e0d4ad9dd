//! The words of `quarry cut`.

use crate::Target;
use anyhow::{Result, bail};
use quarry_client::cuts::{CutRequest, DatabaseUrl};

const EXAMPLES: &str = "Examples:
  quarry cut plan posts --from api --path '/api/posts*'
  quarry cut run posts --from api --path '/api/posts*' --until shadow
  quarry cut resume posts
  quarry cut rollback posts
  quarry cut finish posts
  quarry cut plan posts --from monolith --path '/posts*' --tables posts,comments \\
    --from-database postgres://quarry@db/shop --to-database postgres://quarry@db/posts

Exit codes: 0 done, 1 failed, 2 refused by the plan, 3 it waits for you or went back.";

/// Move one path of a running service, and the data behind it, to a service of its own, and back.
#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum CutCommand {
    /// Print the states to come, what is missing and what speaks against it; changes nothing.
    #[command(after_help = EXAMPLES)]
    Plan {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        json: bool,
    },
    /// Begin a cut and show it until the new service has the path, with a live view.
    #[command(after_help = EXAMPLES)]
    Run {
        #[command(flatten)]
        wanted: Wanted,
        /// Stop in this state and wait: backfill, follow, shadow.
        #[arg(long, value_name = "STATE")]
        until: Option<String>,
        /// Only begin it.
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        target: Target,
        /// One JSON object per line: journal entries, then the report.
        #[arg(long)]
        json: bool,
    },
    /// List all cuts.
    Ls {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        json: bool,
    },
    /// Where a cut is, and what it waits for.
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Show a cut while it goes on.
    Watch {
        #[command(flatten)]
        which: Which,
    },
    /// Print what is known of a cut: hold, requests, rows, digests, shadow comparison, journal.
    Report {
        #[command(flatten)]
        which: Which,
    },
    /// Go on with a cut that has stopped.
    Resume {
        #[command(flatten)]
        named: Named,
        /// Differences that shadowing found are all right.
        #[arg(long)]
        accept_differences: bool,
        /// The scope may have no rows.
        #[arg(long)]
        allow_empty: bool,
        /// Stop again in this state.
        #[arg(long, value_name = "STATE")]
        until: Option<String>,
    },
    /// Move the path back to the old service, with everything that was written on the new one.
    Rollback {
        #[command(flatten)]
        named: Named,
    },
    /// End it on the new side: the old side's tables are retired, and there is no way back.
    Finish {
        #[command(flatten)]
        named: Named,
    },
    /// End it on the old side, before the switch.
    Abort {
        #[command(flatten)]
        named: Named,
    },
}

/// What is to be moved.
#[derive(clap::Args)]
pub struct Wanted {
    /// The application's name of what is behind the paths, such as posts.
    pub scope: String,
    /// The old service: its name, cluster/name or ARN; with databases named also a target group.
    #[arg(long, value_name = "SERVICE")]
    from: String,
    /// The new service [default: named as the scope].
    #[arg(long, value_name = "SERVICE")]
    to: Option<String>,
    /// A path pattern of the listener rule; up to three.
    #[arg(long = "path", value_name = "PATTERN", required = true)]
    paths: Vec<String>,
    /// The listener's ARN, where several forward to the old service.
    #[arg(long, value_name = "ARN")]
    listener: Option<String>,
    /// The path has no data, or both services share it.
    #[arg(long, conflicts_with_all = ["from_database", "to_database", "tables"])]
    no_data: bool,
    /// PostgreSQL of the old side, whose tables are moved from outside: the application needs no change. Better in the
    /// environment than here, where every user of the machine can read it.
    #[arg(
        long,
        value_name = "URL",
        env = "QUARRY_FROM_DATABASE",
        hide_env_values = true,
        requires = "to_database",
        requires = "tables"
    )]
    from_database: Option<String>,
    /// PostgreSQL of the new side, with the same tables, empty.
    #[arg(long, value_name = "URL", env = "QUARRY_TO_DATABASE", hide_env_values = true, requires = "from_database")]
    to_database: Option<String>,
    /// The tables behind the paths, with commas; those that others refer to come first.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', requires = "from_database")]
    tables: Vec<String>,
    /// A share of the reads goes to the new service before the switch [default: 10 where it is given alone].
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "10")]
    canary: Option<u32>,
    /// Share of the reads that are copied to the new service and compared; 0 for none [default: 100].
    #[arg(long, value_name = "PERCENT")]
    shadow: Option<u32>,
    /// So long reads are compared at least.
    #[arg(long, value_name = "SECONDS")]
    shadow_seconds: Option<u32>,
    /// A JSON pointer (/date) or header name that may differ; repeatable.
    #[arg(long, value_name = "POINTER")]
    ignore: Vec<String>,
    /// The scope may have no rows.
    #[arg(long)]
    allow_empty: bool,
    /// What becomes of the old side's tables at the end: keep, rename or drop.
    #[arg(long, value_parser = ["keep", "rename", "drop"])]
    retire: Option<String>,
}

/// A cut to look at.
#[derive(clap::Args)]
pub struct Which {
    /// Its id or scope; without it, the one that is under way.
    pub cut: Option<String>,
    #[command(flatten)]
    pub target: Target,
    #[arg(long)]
    pub json: bool,
}

/// A cut to act on.
#[derive(clap::Args)]
pub struct Named {
    /// Its id or scope.
    pub cut: String,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Do not wait for what comes of it.
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub target: Target,
    #[arg(long)]
    pub json: bool,
}

impl CutCommand {
    pub fn target(&self) -> &Target {
        match self {
            Self::Plan { target, .. } | Self::Run { target, .. } | Self::Ls { target, .. } => target,
            Self::Status { which } | Self::Watch { which } | Self::Report { which } => &which.target,
            Self::Resume { named, .. } | Self::Rollback { named } | Self::Finish { named } | Self::Abort { named } => {
                &named.target
            }
        }
    }
}

impl Wanted {
    pub fn request(&self, dry_run: bool) -> Result<CutRequest> {
        for (name, percent) in [("--canary", self.canary), ("--shadow", self.shadow)] {
            if percent.is_some_and(|percent| percent > 100) {
                bail!("{name} is a share in percent: 0 to 100");
            }
        }
        Ok(CutRequest {
            scope: self.scope.clone(),
            from: self.from.clone(),
            to: self.to.clone().unwrap_or_else(|| self.scope.clone()),
            paths: self.paths.clone(),
            listener: self.listener.clone(),
            data: self.no_data.then(|| "none".to_owned()),
            from_database: self.from_database.clone().map(DatabaseUrl),
            to_database: self.to_database.clone().map(DatabaseUrl),
            tables: self.tables.clone(),
            canary_percent: self.canary,
            shadow_percent: self.shadow,
            shadow_seconds: self.shadow_seconds,
            ignore: self.ignore.clone(),
            allow_empty: self.allow_empty,
            retire: self.retire.clone(),
            dry_run,
            ..CutRequest::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Words {
        #[command(subcommand)]
        command: CutCommand,
    }

    fn wanted(words: &str) -> Result<CutRequest> {
        let words = ["cut"].into_iter().chain(words.split(' '));
        match Words::try_parse_from(words)?.command {
            CutCommand::Plan { wanted, .. } => wanted.request(true),
            CutCommand::Run { wanted, .. } => wanted.request(false),
            _ => bail!("another command"),
        }
    }

    #[test]
    fn the_new_service_is_named_as_the_scope_unless_said() {
        let request = wanted("plan posts --from api --path /api/posts*").unwrap();
        assert_eq!((request.to.as_str(), request.dry_run, request.canary_percent), ("posts", true, None));
        let request = wanted("run posts --from api --to p --path /a --path /b --no-data --canary").unwrap();
        assert_eq!((request.to.as_str(), request.paths.len()), ("p", 2));
        assert_eq!((request.data.as_deref(), request.canary_percent), (Some("none"), Some(10)));
    }

    #[test]
    fn databases_come_with_their_tables() {
        let words = "plan posts --from m --path /x --from-database postgres://u:pw@a/b --to-database postgres://c/d --tables posts,tags";
        let request = wanted(words).unwrap();
        assert_eq!(
            (request.data.as_deref(), request.tables.as_slice()),
            (None, ["posts", "tags"].map(String::from).as_slice())
        );
        assert!(!format!("{request:?}").contains("pw"), "{request:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "plan posts --from api",
            "plan posts --path /x",
            "run posts --from api --path /x --shadow 101",
            "run posts --from api --path /x --retire burn",
            "rollback",
            "run posts --from api --path /x --from-database postgres://a/b --tables posts",
            "run posts --from api --path /x --from-database postgres://a/b --to-database postgres://c/d",
            "run posts --from api --path /x --tables posts",
        ] {
            assert!(wanted(words).is_err(), "{words}");
        }
    }
}
