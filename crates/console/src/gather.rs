//! Asks the API for everything the page shows.

use crate::ConsoleError;
use crate::elb;
use crate::view::{Cluster, Event, Image, Instance, Page, Part, Repository, Service, Stack, Task};
use quarry_aws::cloudformation::op::DescribeStacks;
use quarry_aws::ecr::DescribeImagesRequest;
use quarry_aws::ecr::op::{DescribeImages, DescribeRepositories};
use quarry_aws::ecs::op::{
    DescribeClusters, DescribeContainerInstances, DescribeServices, DescribeTasks, ListClusters,
    ListContainerInstances, ListServices, ListTasks,
};
use quarry_aws::ecs::{
    self, DescribeClustersRequest, DescribeContainerInstancesRequest, DescribeServicesRequest, DescribeTasksRequest,
    ListContainerInstancesRequest, ListServicesRequest, ListTasksRequest,
};
use quarry_client::{CallError, Client, status};

/// ECS describes at most this many services, or tasks, instances and clusters, at once.
const SERVICES_AT_ONCE: usize = 10;
const TASKS_AT_ONCE: usize = 100;
/// Events shown per service.
const EVENTS: usize = 5;
/// Stopped tasks shown per cluster: why something does not start is among the newest.
const STOPPED: usize = 10;

/// An answer, or the service's refusal in words.
pub trait Answer<T> {
    fn told(self) -> Result<T, String>;
}

impl<T> Answer<T> for Result<T, CallError> {
    fn told(self) -> Result<T, String> {
        self.map_err(|error| match &error {
            CallError::Service(refusal) => format!("{}: {}", refusal.code, refusal.message),
            CallError::Transport(_) => error.to_string(),
        })
    }
}

pub async fn gather(client: &Client, endpoint: &str) -> Result<Page, ConsoleError> {
    let bound = status::listeners(endpoint).await?;
    Ok(Page {
        endpoint: endpoint.to_owned(),
        region: client.region().to_owned(),
        load_balancers: elb::load_balancers(client, &bound).await,
        target_groups: elb::target_groups(client).await,
        clusters: clusters(client).await,
        stacks: stacks(client).await,
        repositories: repositories(client).await,
    })
}

/// The last part of an ARN.
pub fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

async fn clusters(client: &Client) -> Part<Cluster> {
    let pages = client.paginate::<ListClusters>(Default::default()).await.told()?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.cluster_arns.unwrap_or_default()).collect();
    let mut all = Vec::new();
    for chunk in arns.chunks(TASKS_AT_ONCE) {
        let input = DescribeClustersRequest { clusters: Some(chunk.to_vec()), ..Default::default() };
        let described = client.call::<DescribeClusters>(input).await.told()?;
        for cluster in described.clusters.unwrap_or_default() {
            let arn = cluster.cluster_arn.unwrap_or_default();
            let mut tasks = tasks(client, &arn, "RUNNING", usize::MAX).await?;
            tasks.extend(self::tasks(client, &arn, "STOPPED", STOPPED).await?);
            all.push(Cluster {
                name: cluster.cluster_name.unwrap_or_default(),
                status: cluster.status.unwrap_or_default(),
                services: services(client, &arn).await?,
                tasks,
                instances: instances(client, &arn).await?,
            });
        }
    }
    Ok(all)
}

async fn services(client: &Client, cluster: &str) -> Part<Service> {
    let input = ListServicesRequest { cluster: Some(cluster.into()), ..Default::default() };
    let pages = client.paginate::<ListServices>(input).await.told()?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.service_arns.unwrap_or_default()).collect();
    let mut all = Vec::new();
    for chunk in arns.chunks(SERVICES_AT_ONCE) {
        let input = DescribeServicesRequest {
            cluster: Some(cluster.into()),
            services: Some(chunk.to_vec()),
            ..Default::default()
        };
        let described = client.call::<DescribeServices>(input).await.told()?;
        all.extend(described.services.unwrap_or_default().into_iter().map(service));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn service(service: ecs::Service) -> Service {
    let events = service.events.unwrap_or_default().into_iter().take(EVENTS).map(|event| Event {
        at: event.created_at.map(|at| at.to_string()).unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    });
    Service {
        name: service.service_name.unwrap_or_default(),
        status: service.status.unwrap_or_default(),
        desired: service.desired_count.unwrap_or_default(),
        running: service.running_count.unwrap_or_default(),
        pending: service.pending_count.unwrap_or_default(),
        task_definition: short(&service.task_definition.unwrap_or_default()).to_owned(),
        events: events.collect(),
    }
}

/// The newest tasks with this desired status, at most so many.
async fn tasks(client: &Client, cluster: &str, status: &str, most: usize) -> Part<Task> {
    let input =
        ListTasksRequest { cluster: Some(cluster.into()), desired_status: Some(status.into()), ..Default::default() };
    let pages = client.paginate::<ListTasks>(input).await.told()?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.task_arns.unwrap_or_default()).collect();
    let mut all = Vec::new();
    for chunk in arns.chunks(TASKS_AT_ONCE) {
        let input =
            DescribeTasksRequest { cluster: Some(cluster.into()), tasks: Some(chunk.to_vec()), ..Default::default() };
        let described = client.call::<DescribeTasks>(input).await.told()?;
        all.extend(described.tasks.unwrap_or_default());
    }
    all.sort_by_key(|task| std::cmp::Reverse(task.stopped_at.or(task.created_at).map(|at| at.millis())));
    all.truncate(most);
    Ok(all.into_iter().map(task).collect())
}

fn task(task: ecs::Task) -> Task {
    Task {
        id: short(&task.task_arn.unwrap_or_default()).to_owned(),
        group: task.group.unwrap_or_default(),
        status: task.last_status.unwrap_or_default(),
        task_definition: short(&task.task_definition_arn.unwrap_or_default()).to_owned(),
        container_instance: short(&task.container_instance_arn.unwrap_or_default()).to_owned(),
        stopped_reason: task.stopped_reason.unwrap_or_default(),
    }
}

async fn instances(client: &Client, cluster: &str) -> Part<Instance> {
    let input = ListContainerInstancesRequest { cluster: Some(cluster.into()), ..Default::default() };
    let pages = client.paginate::<ListContainerInstances>(input).await.told()?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.container_instance_arns.unwrap_or_default()).collect();
    let mut all = Vec::new();
    for chunk in arns.chunks(TASKS_AT_ONCE) {
        let input = DescribeContainerInstancesRequest {
            cluster: Some(cluster.into()),
            container_instances: Some(chunk.to_vec()),
            ..Default::default()
        };
        let described = client.call::<DescribeContainerInstances>(input).await.told()?;
        all.extend(described.container_instances.unwrap_or_default().into_iter().map(instance));
    }
    Ok(all)
}

fn instance(instance: ecs::ContainerInstance) -> Instance {
    let registered = instance.registered_resources.unwrap_or_default();
    let remaining = instance.remaining_resources.unwrap_or_default();
    let free = |name: &str| {
        let amount = |resources: &[ecs::Resource]| {
            resources.iter().find(|r| r.name.as_deref() == Some(name)).and_then(|r| r.integer_value).unwrap_or_default()
        };
        format!("{} of {}", amount(&remaining), amount(&registered))
    };
    Instance {
        id: short(&instance.container_instance_arn.unwrap_or_default()).to_owned(),
        ec2_instance: instance.ec2_instance_id.unwrap_or_default(),
        status: instance.status.unwrap_or_default(),
        tasks: instance.running_tasks_count.unwrap_or_default(),
        cpu: free("CPU"),
        memory: free("MEMORY"),
    }
}

async fn stacks(client: &Client) -> Part<Stack> {
    let pages = client.paginate::<DescribeStacks>(Default::default()).await.told()?;
    let stacks = pages.into_iter().flat_map(|p| p.stacks.unwrap_or_default()).map(|stack| Stack {
        name: stack.stack_name.unwrap_or_default(),
        status: stack.stack_status.unwrap_or_default(),
        reason: stack.stack_status_reason.unwrap_or_default(),
        created: stack.creation_time.map(|at| at.to_string()).unwrap_or_default(),
        outputs: stack
            .outputs
            .unwrap_or_default()
            .into_iter()
            .map(|o| (o.output_key.unwrap_or_default(), o.output_value.unwrap_or_default()))
            .collect(),
    });
    Ok(stacks.collect())
}

async fn repositories(client: &Client) -> Part<Repository> {
    let pages = client.paginate::<DescribeRepositories>(Default::default()).await.told()?;
    let mut all = Vec::new();
    for repository in pages.into_iter().flat_map(|p| p.repositories.unwrap_or_default()) {
        let input = DescribeImagesRequest { repository_name: repository.repository_name.clone(), ..Default::default() };
        let pages = client.paginate::<DescribeImages>(input).await.told()?;
        let images = pages.into_iter().flat_map(|p| p.image_details.unwrap_or_default()).map(|image| Image {
            tags: image.image_tags.unwrap_or_default(),
            digest: image.image_digest.unwrap_or_default(),
            size: image.image_size_in_bytes.unwrap_or_default(),
            pushed: image.image_pushed_at.map(|at| at.to_string()).unwrap_or_default(),
        });
        all.push(Repository {
            images: images.collect(),
            name: repository.repository_name.unwrap_or_default(),
            uri: repository.repository_uri.unwrap_or_default(),
        });
    }
    Ok(all)
}
