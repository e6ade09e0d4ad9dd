//! Images for tests: programs compiled here, built from scratch and pushed.

use crate::Platform;
use anyhow::{Context as _, Result, ensure};
use base64::Engine;
use quarry_aws::ecr::op::{CreateRepository, GetAuthorizationToken};
use quarry_aws::ecr::{CreateRepositoryRequest, GetAuthorizationTokenRequest};
use quarry_client::Client;
use quarry_client::oci::{Auth, OciImage, OciLayer, push_image};
use quarry_deploy_kit::{BuiltImage, Context, Options};
use std::path::Path;
use std::process::{Command, Stdio};

/// Compiles a program of one source file, statically.
pub fn compile(source: &Path, program: &Path) -> Result<()> {
    let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compile.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    run(compile.arg(source).arg("-o").arg(program))
}

/// Compiles a binary of this workspace, statically, beside the tests' own programs.
pub fn compile_binary(package: &str, binary: &str, target_directory: &Path) -> Result<()> {
    let mut compile = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    compile.args(["rustc", "--quiet", "--package", package, "--bin", binary]);
    compile.arg("--target-dir").arg(target_directory).args(["--", "-C", "target-feature=+crt-static"]);
    run(&mut compile)
}

/// An image of one program, which is its entry point.
pub fn of_program(program: &Path) -> Result<BuiltImage> {
    built("FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n", "program", program)
}

/// An image by a Dockerfile that finds a program under this name.
pub fn built(dockerfile: &str, name: &str, program: &Path) -> Result<BuiltImage> {
    let context = Context::default().with_file(name, program, 0o755);
    Ok(quarry_deploy_kit::build("Dockerfile", dockerfile, &context, &Options::default())?)
}

impl Platform {
    /// Pushes an image, into a repository that is made if it is missing; the image's whole name.
    pub fn push(&self, repository: &str, tag: &str, image: BuiltImage) -> Result<String> {
        let aws = self.client()?;
        let layers = image.layers.into_iter().map(|layer| OciLayer {
            media_type: layer.media_type.into(),
            digest: layer.digest,
            bytes: layer.bytes.into(),
        });
        let image = OciImage { config: image.config.into(), layers: layers.collect() };
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let create = CreateRepositoryRequest { repository_name: Some(repository.into()), ..Default::default() };
            match aws.call::<CreateRepository>(create).await {
                Ok(_) => {}
                Err(error) if error.to_string().contains("RepositoryAlreadyExists") => {}
                Err(error) => return Err(error.into()),
            }
            push(&aws, &self.endpoint, repository, tag, &image).await?;
            let host = self.endpoint.trim_start_matches("http://");
            Ok(format!("{host}/{repository}:{tag}"))
        })
    }
}

/// Pushes an image into a repository that is there, with a fresh password; its digest.
pub async fn push(aws: &Client, endpoint: &str, repository: &str, tag: &str, image: &OciImage) -> Result<String> {
    let token = aws.call::<GetAuthorizationToken>(GetAuthorizationTokenRequest::default()).await?;
    let token = token.authorization_data.into_iter().flatten().find_map(|data| data.authorization_token);
    let decoded = base64::engine::general_purpose::STANDARD.decode(token.context("no token")?)?;
    let password = String::from_utf8(decoded)?.strip_prefix("AWS:").context("a token of AWS")?.to_owned();
    let auth = Auth::Basic { user: "AWS".into(), password };
    Ok(push_image(endpoint, repository, tag, image, auth).await?)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
