//! `quarry env init` and the like.

use super::cloud::{Cloud, Wanted, environment_stack, output, parameter, service_stack};
use super::session::Session;
use super::state::EnvironmentRecord;
use super::workspace::{Workspace, listed};
use super::{Common, Local};
use crate::table::table;
use anyhow::{Context as _, Result, bail};
use quarry_aws::cloudformation::Stack;
use quarry_deploy_kit::{manifest, template};
use serde_json::json;
use std::collections::BTreeMap;

#[derive(clap::Subcommand)]
pub enum EnvCommand {
    /// Make an environment: write its manifest, deploy its network, cluster and names. On this machine's Quarry, or in
    /// an account of AWS, which is shown and confirmed first.
    #[command(after_help = "Examples:
  quarry env init --app api --name test
  quarry env init --app api --name prod --profile work --region eu-west-1")]
    Init {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        account: AccountArguments,
    },
    /// Deploy an environment again after its manifest was changed.
    #[command(after_help = "Example:\n  quarry env deploy --name test")]
    Deploy {
        #[command(flatten)]
        at: At,
    },
    /// List the environments of an application.
    #[command(after_help = "Example:\n  quarry env ls --app api")]
    Ls {
        /// The application; this directory's if it is not given.
        #[arg(long, short)]
        app: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show an environment: its services and its load balancer.
    #[command(after_help = "Example:\n  quarry env show --name test")]
    Show {
        #[command(flatten)]
        at: At,
    },
    /// Delete an environment that has no services any more.
    #[command(after_help = "Example:\n  quarry env delete --name test")]
    Delete {
        #[command(flatten)]
        at: At,
    },
    /// Print the CloudFormation template of an environment.
    #[command(after_help = "Example:\n  quarry env package --name test > environment.yml")]
    Package {
        #[command(flatten)]
        at: At,
    },
}

/// Which environment.
#[derive(clap::Args)]
pub struct At {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    app: Option<String>,
    /// Its name; the only one if it is not given. `init` and `package` need one.
    #[arg(long, short)]
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Which account of AWS.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct AccountArguments {
    /// The environment is on AWS, with the credentials of this profile of ~/.aws/config and ~/.aws/credentials.
    #[arg(long)]
    profile: Option<String>,
    /// The environment is on AWS, with the credentials of this shell (AWS_ACCESS_KEY_ID …, AWS_PROFILE).
    #[arg(long, conflicts_with = "profile")]
    aws: bool,
    /// AWS's region; the profile's if it is not given.
    #[arg(long)]
    region: Option<String>,
}

pub async fn run(command: EnvCommand, local: Local<'_>) -> Result<()> {
    let mut workspace = Workspace::find()?;
    match command {
        EnvCommand::Ls { app, common } => {
            let session = Session::open(&common, local).await?;
            let app = workspace.app(app.as_deref())?;
            session.state().application(&app).await?;
            let all = session.state().environments(&app).await?;
            if common.json {
                println!("{}", serde_json::to_string_pretty(&json!({"environments": all}))?);
            } else {
                // A list of names in a pipe, as Copilot has it; accounts are in `env show` and in the JSON.
                all.iter().for_each(|environment| println!("{}", environment.name));
            }
        }
        EnvCommand::Init { at, account } => {
            let session = account.open(Session::open(&at.common, local).await?).await?;
            let app = workspace.app(at.app.as_deref())?;
            let Some(name) = at.name else { bail!("how is it called? Name it with --name, for example test") };
            init(&session, &mut workspace, &app, &name).await?;
            if at.common.json {
                let record = session.state().environment(&app, &name).await?;
                println!("{}", serde_json::to_string_pretty(&record)?);
            }
            session.say.next(&[
                format!("Run `quarry svc init --app {app}` to write a service's manifest."),
                format!(
                    "Edit {} and run `quarry env deploy --name {name}` to change it.",
                    Workspace::environment_manifest_of(&name)
                ),
            ]);
        }
        EnvCommand::Deploy { at } => {
            let session = Session::open(&at.common, local).await?;
            let app = workspace.app(at.app.as_deref())?;
            let (session, record) = session.environment(&app, at.name.as_deref()).await?;
            session.agree(&format!("Deploy the environment {} there?", record.name))?;
            deploy(&session, &workspace, &record).await?;
            if at.common.json {
                println!("{}", json!({"deployed": record.name}));
            }
        }
        EnvCommand::Show { at } => show(&workspace, &at, local).await?,
        EnvCommand::Delete { at } => {
            let session = Session::open(&at.common, local).await?;
            let app = workspace.app(at.app.as_deref())?;
            let (session, record) = session.environment(&app, at.name.as_deref()).await?;
            delete(&session, &record).await?;
            if at.common.json {
                println!("{}", json!({"deleted": record.name}));
            }
        }
        EnvCommand::Package { at } => {
            let app = workspace.app(at.app.as_deref())?;
            let name = at.name.context("which environment? Name it with --name")?;
            print!("{}", template::environment(&app, &workspace.environment(&name, &app)?));
        }
    }
    Ok(())
}

impl AccountArguments {
    /// A session at the account that is named, or where it was.
    pub async fn open(self, session: Session) -> Result<Session> {
        if self.profile.is_none() && !self.aws {
            return match self.region {
                Some(region) if region != session.region() => bail!(
                    "this machine's Quarry is in {}: for AWS in {region} say --profile NAME, or --aws for the credentials \
                     of this shell",
                    session.region()
                ),
                _ => Ok(session),
            };
        }
        let there = session.aws(self.profile, self.region).await?;
        if there.account == session.account && there.region() == session.region() {
            bail!("{} cannot be told from this machine's Quarry, which has the same account and region", there.named());
        }
        Ok(there)
    }
}

/// What a service asks of its environment.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub service: &'a str,
    pub load_balancer: bool,
    pub nat: bool,
}

pub async fn init(session: &Session, workspace: &mut Workspace, app: &str, name: &str) -> Result<()> {
    super::app::check_name(name)?;
    let state = session.state();
    state.application(app).await?;
    if let Some(there) = state.environments(app).await?.into_iter().find(|e| e.name == name)
        && !session.is(&there)
    {
        bail!(
            "the environment {name} is in the account {} and region {} already: take another name, or delete it first",
            there.account,
            there.region
        );
    }
    session.agree(&format!("Make the environment {name} of {app} there?"))?;
    workspace.claim(app)?;
    let path = Workspace::environment_manifest_of(name);
    let written = workspace.write_new(&path, &manifest::new_environment(name))?;
    let word = if written { "Wrote" } else { "Read" };
    session.say.done(format!("{word} the manifest for environment {name} at {path}"));
    let record = EnvironmentRecord {
        app: app.into(),
        name: name.into(),
        region: session.region().into(),
        account: session.account.clone(),
        profile: session.profile().map(str::to_owned),
        registry_url: String::new(),
        execution_role: String::new(),
        manager_role: String::new(),
    };
    // Bad manifests are refused before anything is written down.
    workspace.environment(name, app)?;
    state.put_environment(&record).await?;
    deploy(session, workspace, &record).await
}

/// Deploys an environment by its manifest; what its services need of it stays.
async fn deploy(session: &Session, workspace: &Workspace, record: &EnvironmentRecord) -> Result<()> {
    let environment = workspace.environment(&record.name, &record.app)?;
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let name = environment_stack(&record.app, &record.name);
    let stack = cloud.stack(&name).await?;
    let now = |name: &str| stack.as_ref().and_then(|stack| parameter(stack, name)).unwrap_or_default();
    let parameters = BTreeMap::from([
        ("AppName".to_owned(), record.app.clone()),
        ("EnvironmentName".to_owned(), record.name.clone()),
        ("ALBWorkloads".to_owned(), now("ALBWorkloads")),
        ("NATWorkloads".to_owned(), now("NATWorkloads")),
    ]);
    let wanted = Wanted {
        name: &name,
        what: &format!("the environment {}", record.name),
        template: Some(template::environment(&record.app, &environment)),
        parameters,
        tags: &[("copilot-application", &record.app), ("copilot-environment", &record.name)],
        no_rollback: false,
    };
    cloud.deploy(wanted).await?;
    Ok(())
}

/// Sees to it that the environment has what a service needs, and changes nothing if it has; the stack as it is then.
pub async fn provide(session: &Session, record: &EnvironmentRecord, needs: Needs<'_>) -> Result<Stack> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let name = environment_stack(&record.app, &record.name);
    let absent = || format!("the environment {0} is not deployed: run `quarry env deploy --name {0}`", record.name);
    let stack = cloud.stack(&name).await?.with_context(absent)?;
    let mut parameters = BTreeMap::new();
    let mut changed = false;
    for one in stack.parameters.iter().flatten() {
        let (Some(key), value) = (one.parameter_key.clone(), one.parameter_value.clone().unwrap_or_default()) else {
            continue;
        };
        let wanted = match key.as_str() {
            "ALBWorkloads" => Some(needs.load_balancer),
            "NATWorkloads" => Some(needs.nat),
            _ => None,
        };
        let mut names: Vec<_> = value.split(',').filter(|name| !name.is_empty()).collect();
        if let Some(wanted) = wanted
            && names.contains(&needs.service) != wanted
        {
            changed = true;
            names.retain(|name| *name != needs.service);
            names.extend(wanted.then_some(needs.service));
            names.sort_unstable();
            parameters.insert(key, names.join(","));
        } else {
            parameters.insert(key, value);
        }
    }
    if !changed {
        return Ok(stack);
    }
    let wanted = Wanted {
        name: &name,
        what: &format!("the environment {}", record.name),
        template: None,
        parameters,
        tags: &[("copilot-application", &record.app), ("copilot-environment", &record.name)],
        no_rollback: false,
    };
    cloud.deploy(wanted).await?;
    cloud.stack(&name).await?.with_context(absent)
}

/// The services that are deployed in an environment.
pub async fn deployed(session: &Session, record: &EnvironmentRecord) -> Result<Vec<(String, Stack)>> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let mut found = Vec::new();
    for service in session.state().services(&record.app).await? {
        let stack = cloud.stack(&service_stack(&record.app, &record.name, &service.name)).await?;
        found.extend(stack.map(|stack| (service.name, stack)));
    }
    Ok(found)
}

async fn show(workspace: &Workspace, at: &At, local: Local<'_>) -> Result<()> {
    let session = Session::open(&at.common, local).await?;
    let app = workspace.app(at.app.as_deref())?;
    let (session, record) = session.environment(&app, at.name.as_deref()).await?;
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = cloud.stack(&environment_stack(&app, &record.name)).await?;
    let status = stack.as_ref().and_then(|s| s.stack_status.clone()).unwrap_or_else(|| "not deployed".into());
    let dns = stack.as_ref().and_then(|stack| output(stack, "PublicLoadBalancerDNS"));
    let cluster = stack.as_ref().and_then(|stack| output(stack, "ClusterId"));
    let services = deployed(&session, &record).await?;
    if at.common.json {
        let services: Vec<_> =
            services.iter().map(|(name, stack)| json!({"name": name, "status": stack.stack_status})).collect();
        let shown = json!({
            "environment": record, "status": status, "loadBalancer": dns, "cluster": cluster, "services": services,
        });
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("Environment {} of {app}\n", record.name);
    println!("  place          {}", session.named());
    println!("  account        {} ({})", record.account, record.region);
    println!("  status         {status}");
    println!("  cluster        {}", cluster.unwrap_or_else(|| "none".into()));
    println!("  load balancer  {}\n", dns.unwrap_or_else(|| "none, no service needs it".into()));
    let rows = services.into_iter().map(|(name, stack)| [name, stack.stack_status.unwrap_or_default()]);
    println!("{}", table(["SERVICE", "STATUS"], rows));
    Ok(())
}

async fn delete(session: &Session, record: &EnvironmentRecord) -> Result<()> {
    let left: Vec<_> = deployed(session, record).await?.into_iter().map(|(name, _)| name).collect();
    if !left.is_empty() {
        bail!(
            "the environment {} still has services: {}. Delete each with `quarry svc delete --env {} --name NAME`",
            record.name,
            listed(&left),
            record.name
        );
    }
    session.confirm(&format!("Delete the environment {} of {}?", record.name, record.app))?;
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = environment_stack(&record.app, &record.name);
    cloud.delete(&stack, &format!("the environment {}", record.name)).await?;
    session.state().delete_environment(&record.app, &record.name).await?;
    session.say.done(format!("Deleted the environment {}", record.name));
    Ok(())
}
