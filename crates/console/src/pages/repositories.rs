//! Repositories and their images.

use super::Ctx;
use crate::api::{Data, Told, Trouble};
use crate::html::{self, Page, live, part, section, table, text};
use futures_util::future::join;
use maud::html;
use quarry_aws::ecr::op::{DescribeImages, DescribeRepositories, GetLifecyclePolicy};
use serde_json::json;
use std::cmp::Reverse;

/// Images shown, the newest ones.
const IMAGES: usize = 200;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let mut all = ctx.api.all::<DescribeRepositories>(json!({}), "repositories").await?;
    all.sort_by(|a, b| a.text("repositoryName").cmp(b.text("repositoryName")));
    let rows = all.iter().map(|repository| {
        vec![
            html::link_in("/repositories", repository.text("repositoryName")),
            html::code(repository.text("repositoryUri")),
            text(repository.text("imageTagMutability")),
            html::when(repository.time("createdAt")),
        ]
    });
    let columns = ["Repository", "Address", "Tags", "Created"];
    let fields = html::field("name", "Name", "", "text");
    let body = html! {
        (live("all", "All repositories", table("Repositories", &columns, rows.collect())))
        (section("create", "Create a repository",
            html::action("create-repository", ctx.token, &[], "Create the repository", fields)))
    };
    Ok(Page::new("Repositories", body))
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeRepositories>(json!({"repositoryNames": [name]})).await?;
    let missing = || Trouble::Missing(format!("repository {name}"));
    let repository = found.list("repositories").first().ok_or_else(missing)?;
    let (images, policy) = join(
        ctx.api.all::<DescribeImages>(json!({"repositoryName": name}), "imageDetails"),
        ctx.api.ask::<GetLifecyclePolicy>(json!({"repositoryName": name})),
    )
    .await;
    let images = images.map(|mut images| {
        images.sort_by_key(|image| Reverse(image.time("imagePushedAt").map(|at| at.millis())));
        images
    });
    let uri = repository.text("repositoryUri");
    let registry = uri.split('/').next().unwrap_or_default();
    let push = format!(
        "aws ecr get-login-password | docker login --username AWS --password-stdin {registry}\n\
         docker tag {name} {uri}:v1\ndocker push {uri}:v1"
    );
    let body = html! {
        (section("repository", "Repository", html::facts(vec![
            ("Address", html::code(uri)),
            ("Tags", text(repository.text("imageTagMutability"))),
            ("Created", html::when(repository.time("createdAt"))),
            ("ARN", html::code(repository.text("repositoryArn"))),
        ])))
        (section("images", "Images", part(&images, |images| {
            let rows = images.iter().take(IMAGES).map(|image| {
                let digest = image.text("imageDigest");
                let tags = image.texts("imageTags").join(", ");
                vec![
                    if tags.is_empty() { html! { span.quiet { "untagged" } } } else { text(tags) },
                    html::code(digest),
                    text(html::size(image.whole("imageSizeInBytes"))),
                    html::when(image.time("imagePushedAt")),
                    html::action("delete-image", ctx.token, &[("repository", name), ("digest", digest)], "Delete", html! {}),
                ]
            });
            html! {
                (table("Images", &["Tags", "Digest", "#Size", "Pushed", "Actions"], rows.collect()))
                @if images.len() > IMAGES { p.none { "The newest " (IMAGES) " of " (images.len()) "." } }
            }
        })))
        (section("push", "Push an image", html::copied("Commands", &push)))
        @if let Ok(policy) = &policy {
            (section("lifecycle", "Lifecycle policy", html::copied("Policy", policy.text("lifecyclePolicyText"))))
        }
        (section("delete", "Delete", html::action(
            "delete-repository", ctx.token, &[("repository", name)], "Delete this repository",
            html::tick("force", "with its images"),
        )))
    };
    Ok(Page::new(name, body).under("Repositories", "/repositories"))
}
