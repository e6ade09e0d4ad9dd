//! Services, tasks, task definitions, clusters.

use super::{Call, Plan, Planned};
use crate::api::{Api, Data, short};
use crate::form::{Form, encoded};
use quarry_aws::ecs::op::{
    CreateService, DeleteCluster, DeleteService, DeregisterTaskDefinition, DescribeServices, StopTask, UpdateService,
};
use serde_json::json;

fn cluster_page(cluster: &str) -> String {
    format!("/clusters/{}", encoded(cluster))
}

fn service_page(cluster: &str, service: &str) -> String {
    format!("{}/services/{}", cluster_page(cluster), encoded(service))
}

pub fn create_service(form: &Form) -> Planned {
    let (cluster, service) = (form.needed("cluster", "The cluster")?, form.needed("service", "The service's name")?);
    let mut input = json!({
        "cluster": cluster,
        "serviceName": service,
        "taskDefinition": form.needed("definition", "The task definition")?,
        "desiredCount": form.number("desired", "The number of tasks")?,
        "launchType": form.needed("launch_type", "The launch type")?,
    });
    if let Some(group) = form.given("group") {
        let container = form.needed("container", "The container's name, which a target group needs,")?;
        let port = form.number("port", "The container's port")?;
        input["loadBalancers"] = json!([{"targetGroupArn": group, "containerName": container, "containerPort": port}]);
    }
    let subnets = form.words("subnets");
    if !subnets.is_empty() {
        let mut network = json!({"subnets": subnets});
        let groups = form.words("security_groups");
        if !groups.is_empty() {
            network["securityGroups"] = json!(groups);
        }
        input["networkConfiguration"] = json!({"awsvpcConfiguration": network});
    }
    if form.ticked("circuit_breaker") {
        input["deploymentConfiguration"] = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    }
    let then = service_page(cluster, service);
    let title = format!("Create the service {service}");
    let plan = Plan::new(title, Call::of::<CreateService>(input), format!("{service} is being started."), then);
    Ok(plan.back_to(format!("{}/create-service", cluster_page(cluster))))
}

/// Only what differs from what is there is sent.
pub async fn update_service(api: &Api, form: &Form) -> Planned {
    let (cluster, service) = (form.needed("cluster", "The cluster")?, form.needed("service", "The service")?);
    let asked = json!({"cluster": cluster, "services": [service]});
    let answer = api.ask::<DescribeServices>(asked).await.map_err(|error| error.to_string())?;
    let now = answer.list("services").first().ok_or_else(|| format!("There is no service {service}."))?;
    let mut input = json!({"cluster": cluster, "service": service});
    let same = input.clone();
    if let Some(desired) = form.number_if_given("desired", "The number of tasks")?
        && desired != now.whole("desiredCount")
    {
        input["desiredCount"] = json!(desired);
    }
    if let Some(definition) = form.given("definition").filter(|wanted| *wanted != short(now.text("taskDefinition"))) {
        input["taskDefinition"] = json!(definition);
    }
    if form.ticked("force") {
        input["forceNewDeployment"] = json!(true);
    }
    if input == same {
        return Err("This is what the service has already: change something.".into());
    }
    let title = format!("Update the service {service}");
    let done = format!("{service} is being updated.");
    Ok(Plan::new(title, Call::of::<UpdateService>(input), done, service_page(cluster, service)))
}

pub fn delete_service(form: &Form) -> Planned {
    let (cluster, service) = (form.needed("cluster", "The cluster")?, form.needed("service", "The service")?);
    let mut input = json!({"cluster": cluster, "service": service});
    if form.ticked("force") {
        input["force"] = json!(true);
    }
    let done = format!("{service} is being deleted: its tasks are drained and stopped.");
    let plan = Plan::new(
        format!("Delete the service {service}"),
        Call::of::<DeleteService>(input),
        done,
        cluster_page(cluster),
    );
    Ok(plan.warned("A service that is deleted does not come back: it would have to be created again."))
}

pub fn stop_task(form: &Form) -> Planned {
    let (cluster, task) = (form.needed("cluster", "The cluster")?, form.needed("task", "The task")?);
    let mut input = json!({"cluster": cluster, "task": task});
    if let Some(reason) = form.given("reason") {
        input["reason"] = json!(reason);
    }
    let then = format!("{}/tasks/{}", cluster_page(cluster), encoded(task));
    let title = format!("Stop the task {task}");
    Ok(Plan::new(title, Call::of::<StopTask>(input), "The task is being drained and stopped.", then))
}

pub fn deregister_task_definition(form: &Form) -> Planned {
    let definition = form.needed("definition", "The task definition")?;
    let family = definition.split(':').next().unwrap_or_default();
    let then = format!("/task-definitions/{}", encoded(family));
    let title = format!("Deregister {definition}");
    let call = Call::of::<DeregisterTaskDefinition>(json!({"taskDefinition": definition}));
    let plan = Plan::new(title, call, format!("{definition} is inactive."), then);
    Ok(plan.warned("No new service or task can use it; what runs goes on."))
}

pub fn delete_cluster(form: &Form) -> Planned {
    let cluster = form.needed("cluster", "The cluster")?;
    let call = Call::of::<DeleteCluster>(json!({"cluster": cluster}));
    let title = format!("Delete the cluster {cluster}");
    Ok(Plan::new(title, call, format!("{cluster} is deleted."), "/clusters").warned("It must be empty."))
}
