//! Where a command works: this machine's Quarry, or an account of AWS. What applications, environments and services
//! there are is kept by this machine's Quarry for both.

use super::state::{EnvironmentRecord, State};
use super::workspace::listed;
use super::{Common, Local, say::Say};
use crate::connection::Connection;
use anyhow::{Context as _, Result, bail};
use quarry_aws::sts::op::GetCallerIdentity;
use quarry_client::Client;
use quarry_client::aws::{Aws, Choice};
use quarry_client::status::{self, ListenerView};
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Session {
    pub say: Say,
    /// Questions are answered with yes.
    pub yes: bool,
    /// This machine's Quarry, with its account.
    home: Connection,
    home_client: Client,
    home_account: String,
    /// A client of the place where the command works.
    pub aws: Client,
    pub account: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Quarry,
    /// `endpoint`: what stands for AWS's own endpoints, if anything.
    Aws {
        profile: Option<String>,
        endpoint: Option<String>,
        /// Whom to believe.
        bundle: Option<PathBuf>,
    },
}

impl Session {
    /// This machine's Quarry.
    pub async fn open(common: &Common, local: Local<'_>) -> Result<Self> {
        let home = Connection::choose(common.target.data_dir.as_deref(), local)?;
        let aws = home.client()?;
        let identity = aws.call::<GetCallerIdentity>(Default::default()).await?;
        let account = identity.account.unwrap_or_default();
        Ok(Self {
            say: Say { json: common.json, quiet: common.quiet },
            yes: common.yes,
            home,
            home_client: aws.clone(),
            home_account: account.clone(),
            aws,
            account,
            place: Place::Quarry,
        })
    }

    /// An account of AWS.
    pub async fn aws(&self, profile: Option<String>, region: Option<String>) -> Result<Self> {
        let choice = Choice {
            profile,
            region,
            not_endpoint: Some(self.home.endpoint.clone()),
            not_key: Some(self.home.access_key_id.clone()),
        };
        let aws = Aws::open(&choice).await?;
        let identity = aws.client.call::<GetCallerIdentity>(Default::default()).await;
        let identity = identity.with_context(|| match &aws.profile {
            Some(profile) => {
                format!("cannot ask AWS in {} whose credentials these are (profile {profile})", aws.region)
            }
            None => {
                format!("cannot ask AWS in {} whose credentials these are (the access key of this shell)", aws.region)
            }
        })?;
        let place = Place::Aws { profile: aws.profile, endpoint: aws.endpoint, bundle: aws.bundle };
        Ok(Self { aws: aws.client, account: identity.account.unwrap_or_default(), place, ..self.clone() })
    }

    pub fn state(&self) -> State<'_> {
        State { aws: &self.home_client }
    }

    /// The same command at this machine's Quarry.
    pub fn home(&self) -> Self {
        Self { aws: self.home_client.clone(), account: self.home_account.clone(), place: Place::Quarry, ..self.clone() }
    }

    pub fn region(&self) -> &str {
        self.aws.region()
    }

    /// The profile of AWS that this place is reached by.
    pub fn profile(&self) -> Option<&str> {
        match &self.place {
            Place::Aws { profile, .. } => profile.as_deref(),
            Place::Quarry => None,
        }
    }

    /// What stands for AWS's own endpoints, if anything.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.place {
            Place::Aws { endpoint, .. } => endpoint.as_deref(),
            Place::Quarry => None,
        }
    }

    /// The address of this machine's Quarry, wherever the command works.
    pub fn home_endpoint(&self) -> &str {
        &self.home.endpoint
    }

    pub fn is_aws(&self) -> bool {
        matches!(self.place, Place::Aws { .. })
    }

    /// The address of this machine's Quarry, if the command works there.
    pub fn quarry(&self) -> Option<&str> {
        (!self.is_aws()).then_some(self.home.endpoint.as_str())
    }

    /// Where load balancers really listen, if this place is a Quarry.
    pub async fn listeners(&self) -> Option<Vec<ListenerView>> {
        match &self.place {
            Place::Quarry => status::listeners(&self.home.endpoint).await.ok(),
            Place::Aws { endpoint, bundle, .. } => {
                status::listeners_trusting(endpoint.as_ref()?, bundle.as_deref()).await.ok()
            }
        }
    }

    /// The file of certificates that servers of this place are believed by, where one is named.
    pub fn bundle(&self) -> Option<&Path> {
        match &self.place {
            Place::Aws { bundle, .. } => bundle.as_deref(),
            Place::Quarry => None,
        }
    }

    /// The environment that is named, or the only one there is, and a session where it is.
    pub async fn environment(&self, app: &str, name: Option<&str>) -> Result<(Self, EnvironmentRecord)> {
        let record = match name {
            Some(name) => self.state().environment(app, name).await?,
            None => {
                let mut all = self.state().environments(app).await?;
                if all.len() > 1 {
                    let names: Vec<_> = all.into_iter().map(|e| e.name).collect();
                    bail!(
                        "which environment of {app}? Name it with --env (after `quarry env`: --name): {}",
                        listed(&names)
                    );
                }
                match all.pop() {
                    Some(only) => only,
                    None => bail!("{app} has no environment: make one with `quarry env init --app {app} --name test`"),
                }
            }
        };
        Ok((self.at(&record).await?, record))
    }

    /// A session where an environment is: nothing is sent anywhere else by mistake.
    pub async fn at(&self, record: &EnvironmentRecord) -> Result<Self> {
        if self.is(record) {
            return Ok(self.clone());
        }
        let home = self.home();
        if home.is(record) {
            return Ok(home);
        }
        let there = home.aws(record.profile.clone(), Some(record.region.clone())).await;
        let there = there.with_context(|| {
            format!(
                "the environment {} is on AWS, in the account {} and region {}",
                record.name, record.account, record.region
            )
        })?;
        if there.is(record) {
            return Ok(there);
        }
        bail!(
            "the environment {} is in the account {} and region {}, and these credentials{} are of {} in {}",
            record.name,
            record.account,
            record.region,
            there.profile().map(|profile| format!(" (profile {profile})")).unwrap_or_default(),
            there.account,
            there.region()
        )
    }

    /// Whether this is the place of an environment.
    pub fn is(&self, record: &EnvironmentRecord) -> bool {
        record.account == self.account && record.region == self.region()
    }

    /// Asks before something that cannot be taken back.
    pub fn confirm(&self, question: &str) -> Result<()> {
        if self.is_aws() {
            self.say.warn(self.named());
        }
        if self.yes || super::ask::confirm(question)? {
            return Ok(());
        }
        bail!("nothing was changed")
    }

    /// Asks before something that costs money: on AWS.
    pub fn agree(&self, question: &str) -> Result<()> {
        if self.is_aws() { self.confirm(question) } else { Ok(()) }
    }

    /// `AWS account 123456789012 in eu-west-1 (profile prod)`
    pub fn named(&self) -> String {
        let by = match &self.place {
            Place::Quarry => return format!("Quarry at {}", self.home.endpoint),
            Place::Aws { profile: Some(profile), .. } => format!("profile {profile}"),
            Place::Aws { profile: None, .. } => "the access key of this shell".to_owned(),
        };
        let instead = match &self.place {
            Place::Aws { endpoint: Some(endpoint), .. } => format!(", at {endpoint}"),
            _ => String::new(),
        };
        format!("AWS account {} in {} ({by}){instead}", self.account, self.region())
    }
}
