//! The endpoint that a command speaks to, with its account: this machine's Quarry.

use super::state::{EnvironmentRecord, State};
use super::workspace::listed;
use super::{Common, Local, say::Say};
use crate::connection::Connection;
use anyhow::{Result, bail};
use quarry_aws::sts::op::GetCallerIdentity;
use quarry_client::Client;

pub struct Session {
    pub say: Say,
    /// Questions are answered with yes.
    pub yes: bool,
    pub connection: Connection,
    pub aws: Client,
    pub account: String,
}

impl Session {
    pub async fn open(common: &Common, local: Local<'_>) -> Result<Self> {
        let connection = Connection::choose(common.target.data_dir.as_deref(), local)?;
        let aws = connection.client()?;
        let identity = aws.call::<GetCallerIdentity>(Default::default()).await?;
        Ok(Self {
            say: Say { json: common.json, quiet: common.quiet },
            yes: common.yes,
            connection,
            aws,
            account: identity.account.unwrap_or_default(),
        })
    }

    pub fn state(&self) -> State<'_> {
        State { aws: &self.aws }
    }

    pub fn region(&self) -> &str {
        &self.connection.region
    }

    /// The environment that is named, or the only one there is.
    pub async fn environment(&self, app: &str, name: Option<&str>) -> Result<EnvironmentRecord> {
        let record = match name {
            Some(name) => self.state().environment(app, name).await?,
            None => {
                let mut all = self.state().environments(app).await?;
                if all.len() > 1 {
                    let names: Vec<_> = all.into_iter().map(|e| e.name).collect();
                    bail!("which environment of {app}? Name it with --env: {}", listed(&names));
                }
                match all.pop() {
                    Some(only) => only,
                    None => bail!("{app} has no environment: make one with `quarry env init --app {app} --name test`"),
                }
            }
        };
        self.reaches(&record)?;
        Ok(record)
    }

    /// Whether this endpoint is the environment's: nothing is sent anywhere else by mistake.
    pub fn reaches(&self, record: &EnvironmentRecord) -> Result<()> {
        if record.account == self.account && record.region == self.region() {
            return Ok(());
        }
        bail!(
            "the environment {} is in the account {} and region {}, and this endpoint is {} in {}: \
             `quarry svc package` prints the template for it, `aws cloudformation deploy` deploys that",
            record.name,
            record.account,
            record.region,
            self.account,
            self.region()
        )
    }

    /// Asks before something that cannot be taken back.
    pub fn confirm(&self, question: &str) -> Result<()> {
        if self.yes || super::ask::confirm(question)? {
            return Ok(());
        }
        bail!("nothing was changed")
    }
}
