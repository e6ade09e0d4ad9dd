//! Listings of ECS, whole.

use anyhow::Result;
use quarry_aws::ecs::op::{DescribeTasks, ListClusters, ListTasks};
use quarry_aws::ecs::{DescribeTasksRequest, ListTasksRequest, Task};
use quarry_client::Client;

/// ECS describes at most this many tasks, or container instances, at once.
pub const AT_ONCE: usize = 100;

/// The one that is named, or the ARNs of all clusters.
pub async fn clusters(aws: &Client, named: Option<&str>) -> Result<Vec<String>> {
    if let Some(named) = named {
        return Ok(vec![named.to_owned()]);
    }
    let pages = aws.paginate::<ListClusters>(Default::default()).await?;
    Ok(pages.into_iter().flat_map(|page| page.cluster_arns.unwrap_or_default()).collect())
}

/// The tasks that a listing names.
pub async fn tasks(aws: &Client, wanted: ListTasksRequest) -> Result<Vec<Task>> {
    let cluster = wanted.cluster.clone();
    let pages = aws.paginate::<ListTasks>(wanted).await?;
    let arns: Vec<_> = pages.into_iter().flat_map(|page| page.task_arns.unwrap_or_default()).collect();
    let mut tasks = Vec::new();
    for chunk in arns.chunks(AT_ONCE) {
        let input =
            DescribeTasksRequest { cluster: cluster.clone(), tasks: Some(chunk.to_vec()), ..Default::default() };
        tasks.extend(aws.call::<DescribeTasks>(input).await?.tasks.unwrap_or_default());
    }
    Ok(tasks)
}
