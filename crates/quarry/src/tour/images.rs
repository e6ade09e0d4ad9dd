//! Part 1 of the documents: repositories, images, push. Built from Dockerfiles, without Docker.

use crate::tour::VERSION;
use crate::tour::board::{Binaries, NAMES};
use crate::tour::platform::Quarry;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use anyhow::{Context as _, Result, ensure};
use quarry_aws::ecr::op::{CreateRepository, DescribeImages, GetAuthorizationToken};
use quarry_aws::ecr::{CreateRepositoryRequest, DescribeImagesRequest};
use quarry_client::oci;
use quarry_deploy_kit::{BuiltImage, Context, Options};
use std::collections::BTreeMap;

/// In the repository.
const DOCKERFILE: &str = "apps/board/Dockerfile";

pub async fn push(screen: &Screen, report: &mut Report, quarry: &Quarry, binaries: &Binaries) -> Result<()> {
    screen.heading("Containerize: build the images and push them (ECR)");
    let aws = &quarry.aws;
    let token = aws.call::<GetAuthorizationToken>(Default::default()).await?;
    let password = token
        .authorization_data
        .unwrap_or_default()
        .into_iter()
        .find_map(|data| data.authorization_token)
        .and_then(|token| password(&token))
        .context("the registry gave no authorization token")?;
    let auth = oci::Auth::Basic { user: "AWS".into(), password };
    let step = screen.step("build and push api, users, threads, posts, web");
    let (dockerfile, context) = context(binaries)?;
    for name in NAMES {
        step.progress(name);
        let repository = aws
            .call::<CreateRepository>(CreateRepositoryRequest {
                repository_name: Some(name.into()),
                ..Default::default()
            })
            .await?;
        let uri = repository.repository.and_then(|r| r.repository_uri).context("the repository has no URI")?;
        let options = Options {
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.into(),
            arguments: BTreeMap::from([("SERVICE".to_owned(), name.to_owned())]),
        };
        let image = quarry_deploy_kit::build(DOCKERFILE, &dockerfile, &context, &options)
            .with_context(|| format!("the image {name} cannot be built"))?;
        let pushed = oci::push_image(&quarry.endpoint, name, VERSION, &as_pushed(&image), auth.clone())
            .await
            .with_context(|| format!("{uri}:{VERSION} cannot be pushed"))?;
        let described = aws
            .call::<DescribeImages>(DescribeImagesRequest { repository_name: Some(name.into()), ..Default::default() })
            .await?;
        let details = described.image_details.unwrap_or_default();
        let tagged = details.iter().any(|d| {
            d.image_digest.as_ref() == Some(&pushed)
                && d.image_tags.as_ref().is_some_and(|tags| tags.iter().any(|t| t == VERSION))
        });
        ensure!(tagged, "{name} does not show the tag {VERSION}");
    }
    report.times.push = step.done(format!("5 repositories, each with its image tagged {VERSION}"));
    Ok(())
}

/// The Dockerfile, and the files that it copies: the binaries and the sample data.
fn context(binaries: &Binaries) -> Result<(String, Context)> {
    let path = binaries.root.join(DOCKERFILE);
    let dockerfile = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut context = Context::default().with_file("db.json", binaries.root.join("apps/board/data/db.json"), 0o644);
    for name in NAMES {
        let file = format!("board-{name}");
        context = context.with_file(&file, binaries.directory.join(&file), 0o755);
    }
    Ok((dockerfile, context))
}

/// The password in ECR's authorization token, which is `AWS:<password>` in base64.
fn password(token: &str) -> Option<String> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    String::from_utf8(decoded).ok()?.strip_prefix("AWS:").map(str::to_owned)
}

fn as_pushed(image: &BuiltImage) -> oci::OciImage {
    let layers = image.layers.iter().map(|layer| oci::OciLayer {
        media_type: layer.media_type.into(),
        digest: layer.digest.clone(),
        bytes: layer.bytes.clone().into(),
    });
    oci::OciImage { config: image.config.clone().into(), layers: layers.collect() }
}
