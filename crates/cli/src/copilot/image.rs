//! Images: built by this program or by the tool that is there, and pushed to ECR.

use super::cloud::{Cloud, Outcome, Wanted, regional_stack};
use super::session::Session;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use quarry_aws::ecr::op::{DescribeImages, DescribeRepositories, GetAuthorizationToken};
use quarry_aws::ecr::{DescribeImagesRequest, DescribeRepositoriesRequest, ImageIdentifier};
use quarry_client::oci;
use quarry_deploy_kit::manifest::{Build, Platform};
use quarry_deploy_kit::{BuiltImage, Context, Dockerfile, Options, template};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tools that build what is not from scratch, in the order in which they are taken.
const TOOLS: [&str; 3] = ["docker", "podman", "buildah"];

/// An image that is to be there.
pub struct Order<'a> {
    /// The workspace's root, where its paths start.
    pub root: &'a Path,
    pub build: &'a Build,
    pub platform: Platform,
    /// The repository's name, `api/posts`.
    pub repository: &'a str,
    pub tag: &'a str,
}

/// Sees to it that an application has these repositories besides those it has.
pub async fn repositories(session: &Session, app: &str, names: &[String]) -> Result<Outcome> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let prefix = format!("{app}/");
    let mut all: BTreeSet<String> = names.iter().cloned().collect();
    let pages = session.aws.paginate::<DescribeRepositories>(DescribeRepositoriesRequest::default()).await?;
    let there = pages.into_iter().flat_map(|page| page.repositories.unwrap_or_default());
    let there: BTreeSet<_> = there.filter_map(|r| Some(r.repository_name?.strip_prefix(&prefix)?.to_owned())).collect();
    let stack = regional_stack(app);
    if cloud.stack(&stack).await?.is_some() {
        if all.is_subset(&there) {
            return Ok(Outcome::Unchanged);
        }
        all.extend(there);
    }
    deploy_repositories(session, app, all.into_iter().collect()).await
}

/// Takes a service's repositories away, with their images.
pub async fn remove_repositories(session: &Session, app: &str, service: &str) -> Result<()> {
    let prefix = format!("{app}/");
    let pages = session.aws.paginate::<DescribeRepositories>(DescribeRepositoriesRequest::default()).await?;
    let there = pages.into_iter().flat_map(|page| page.repositories.unwrap_or_default());
    let mut names: Vec<_> = there.filter_map(|r| Some(r.repository_name?.strip_prefix(&prefix)?.to_owned())).collect();
    let sidecars = format!("{service}/");
    names.retain(|name| name != service && !name.starts_with(&sidecars));
    names.sort();
    deploy_repositories(session, app, names).await?;
    Ok(())
}

async fn deploy_repositories(session: &Session, app: &str, names: Vec<String>) -> Result<Outcome> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = regional_stack(app);
    if names.is_empty() && cloud.stack(&stack).await?.is_none() {
        return Ok(Outcome::Unchanged);
    }
    let wanted = Wanted {
        name: &stack,
        what: "the repositories",
        template: Some(template::application(app, &names)),
        parameters: BTreeMap::new(),
        tags: &[("copilot-application", app)],
        no_rollback: false,
    };
    cloud.deploy(wanted).await
}

/// Builds and pushes an image; its name with the digest, which names these bytes and no others.
pub async fn provide(session: &Session, order: &Order<'_>) -> Result<String> {
    let path = order.root.join(&order.build.dockerfile);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read the Dockerfile {}", path.display()))?;
    let uri = uri(session, order.repository).await?;
    let parsed = Dockerfile::parse(&order.build.dockerfile, &text, &order.build.args);
    let tool = if parsed.is_ok() { None } else { tool() };
    let by = tool.map(|tool| format!(" with {tool}")).unwrap_or_default();
    let step = session.say.step(format!("Build {}{by} and push it to {}", order.build.dockerfile, order.repository));
    let digest = match (parsed, tool) {
        (Ok(_), _) => {
            let image = build(order, &text)?;
            step.progress("push");
            push(session, order, &image).await?
        }
        (Err(_), Some(tool)) => {
            build_with(tool, order, &uri, &authorization(session).await?)?;
            digest(session, order).await?
        }
        (Err(fault), None) => bail!(
            "{fault}\nOf images from scratch this program builds those without RUN and without stages; others need docker, \
             podman or buildah, and none of them is here"
        ),
    };
    step.end("succeeded");
    Ok(format!("{uri}@{digest}"))
}

async fn uri(session: &Session, repository: &str) -> Result<String> {
    let input = DescribeRepositoriesRequest { repository_names: Some(vec![repository.into()]), ..Default::default() };
    let found = session.aws.call::<DescribeRepositories>(input).await?.repositories.unwrap_or_default();
    found.into_iter().next().and_then(|r| r.repository_uri).with_context(|| format!("{repository} has no URI"))
}

fn build(order: &Order<'_>, text: &str) -> Result<BuiltImage> {
    let dir = order.root.join(&order.build.context);
    let context = Context::dir(&dir).with_context(|| format!("cannot read the build context {}", dir.display()))?;
    let options = Options { architecture: order.platform.image().into(), arguments: order.build.args.clone() };
    Ok(quarry_deploy_kit::build(&order.build.dockerfile, text, &context, &options)?)
}

/// A registry, and the password of its user `AWS`.
struct Registry {
    /// `https://123456789012.dkr.ecr.eu-west-1.amazonaws.com`
    address: String,
    password: String,
}

async fn authorization(session: &Session) -> Result<Registry> {
    let token = session.aws.call::<GetAuthorizationToken>(Default::default()).await?;
    let data = token.authorization_data.unwrap_or_default().into_iter().next().unwrap_or_default();
    let token = data.authorization_token.context("the registry gave no authorization token")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(token)?;
    let text = String::from_utf8(decoded)?;
    let password =
        text.strip_prefix("AWS:").context("the registry's authorization token is of an unknown form")?.to_owned();
    let address = match session.quarry() {
        Some(endpoint) => endpoint.to_owned(),
        None => data.proxy_endpoint.context("the registry does not say where it is")?,
    };
    Ok(Registry { address, password })
}

async fn push(session: &Session, order: &Order<'_>, image: &BuiltImage) -> Result<String> {
    let layers = image.layers.iter().map(|layer| oci::OciLayer {
        media_type: layer.media_type.into(),
        digest: layer.digest.clone(),
        bytes: layer.bytes.clone().into(),
    });
    let image = oci::OciImage { config: image.config.clone().into(), layers: layers.collect() };
    let Registry { address, password } = authorization(session).await?;
    let auth = oci::Auth::Basic { user: "AWS".into(), password };
    let registry = oci::Registry::trusting(&address, auth, session.bundle())?;
    Ok(registry.push_image(order.repository, order.tag, &image).await?)
}

/// The first tool that is there and works.
fn tool() -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| {
        // Of docker the daemon must answer, too.
        let mut command = Command::new(tool);
        command.arg(if *tool == "docker" { "info" } else { "--version" });
        quiet(&mut command).status().is_ok_and(|status| status.success())
    })
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Lets a tool build and push. It builds as its user has set it up (contexts, mirrors, credentials for base images);
/// the credentials for the push are in a directory of their own.
fn build_with(tool: &str, order: &Order<'_>, uri: &str, registry: &Registry) -> Result<()> {
    let image = format!("{uri}:{}", order.tag);
    let mut build = Command::new(tool);
    build.args(["build", "--platform", &format!("linux/{}", order.platform.image()), "--tag", &image, "--file"]);
    build.arg(order.root.join(&order.build.dockerfile));
    if tool == "buildah" {
        // The others keep the steps of a build by themselves.
        build.arg("--layers");
    }
    for (name, value) in &order.build.args {
        build.arg("--build-arg").arg(format!("{name}={value}"));
    }
    if let Some(target) = &order.build.target {
        build.arg("--target").arg(target);
    }
    for from in &order.build.cache_from {
        build.arg("--cache-from").arg(from);
    }
    finish(build.arg(order.root.join(&order.build.context)), None)?;

    let secrets = tempfile::tempdir()?;
    let host = docker_host(tool);
    let with_credentials = |words: &[&str]| {
        let mut command = Command::new(tool);
        if tool == "docker" {
            // Another configuration is also another choice of the daemon.
            command.envs(host.iter().map(|host| ("DOCKER_HOST", host)));
            command.arg("--config").arg(secrets.path()).args(words);
        } else {
            command.args(words).arg("--authfile").arg(secrets.path().join("auth.json"));
            if registry.address.starts_with("http://") {
                command.arg("--tls-verify=false");
            }
        }
        command
    };
    let mut login = with_credentials(&["login", "--username", "AWS", "--password-stdin"]);
    finish(login.arg(uri.split('/').next().unwrap_or(uri)), Some(&registry.password))?;
    finish(with_credentials(&["push"]).arg(&image), None)
}

/// The daemon that docker speaks to by its current context, where no variable names one.
fn docker_host(tool: &str) -> Option<String> {
    if tool != "docker" || std::env::var_os("DOCKER_HOST").is_some() {
        return None;
    }
    let asked =
        Command::new(tool).args(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).output().ok()?;
    let host = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
    (asked.status.success() && !host.is_empty()).then_some(host)
}

/// Runs a command; what it said if it failed.
fn finish(command: &mut Command, input: Option<&str>) -> Result<()> {
    let name = format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(())
}

/// The digest of what was pushed under the tag.
async fn digest(session: &Session, order: &Order<'_>) -> Result<String> {
    let input = DescribeImagesRequest {
        repository_name: Some(order.repository.into()),
        image_ids: Some(vec![ImageIdentifier { image_tag: Some(order.tag.into()), ..Default::default() }]),
        ..Default::default()
    };
    let images = session.aws.call::<DescribeImages>(input).await?.image_details.unwrap_or_default();
    images.into_iter().find_map(|image| image.image_digest).context("the pushed image has no digest")
}
