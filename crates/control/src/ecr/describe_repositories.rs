//! `DescribeRepositories`.

use super::records::Repository;
use super::{page, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DescribeRepositoriesRequest, DescribeRepositoriesResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeRepositoriesRequest) -> Result<DescribeRepositoriesResponse> {
    repositories::check_registry(ctx.platform.place(), input.registry_id.as_deref())?;
    let names = input.repository_names.unwrap_or_default();
    let found: Vec<Repository> = if names.is_empty() {
        let mut all: Vec<Repository> = ctx.tx.all()?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    } else {
        let find = |name: &String| repositories::by_name(ctx.platform.place(), ctx.tx, name);
        names.iter().map(find).collect::<Result<_>>()?
    };
    let (found, next_token) =
        page::page(found, |repository| repository.name.clone(), input.next_token.as_deref(), input.max_results)?;
    let shown = found.iter().map(|repository| repositories::show(ctx.platform, repository)).collect();
    Ok(DescribeRepositoriesResponse { repositories: Some(shown), next_token })
}
