//! Service deployments and revisions, and deployment alarms, with rolling updates.

use super::{Stage, id};
use quarry_aws::cloudwatch;
use quarry_aws::ecs::{self as aws, op};
use std::time::Duration;

impl Stage {
    /// The service deployments of service `api`, newest first.
    pub fn deployments(&self) -> Vec<aws::ServiceDeployment> {
        let input = aws::ListServiceDeploymentsRequest {
            cluster: Some("demo".into()),
            service: Some("api".into()),
            ..Default::default()
        };
        let listed = self.world.call::<op::ListServiceDeployments>(input).unwrap().service_deployments.unwrap();
        if listed.is_empty() {
            return Vec::new();
        }
        let arns: Vec<String> = listed.iter().map(|one| one.service_deployment_arn.clone().unwrap()).collect();
        let input = aws::DescribeServiceDeploymentsRequest { service_deployment_arns: Some(arns) };
        let output = self.world.call::<op::DescribeServiceDeployments>(input).unwrap();
        assert!(output.failures.unwrap().is_empty());
        let shown = output.service_deployments.unwrap();
        for (brief, whole) in listed.iter().zip(&shown) {
            assert_eq!((&brief.status, &brief.status_reason), (&whole.status, &whole.status_reason));
            let target = whole.target_service_revision.as_ref().unwrap();
            assert_eq!(brief.target_service_revision_arn, target.arn);
        }
        shown
    }

    pub fn statuses(&self) -> Vec<String> {
        self.deployments().into_iter().map(|one| one.status.unwrap()).collect()
    }

    pub fn stop(&self, stop_type: Option<&str>) -> crate::api::Result<aws::StopServiceDeploymentResponse> {
        let newest = self.deployments().remove(0).service_deployment_arn;
        self.world.call::<op::StopServiceDeployment>(aws::StopServiceDeploymentRequest {
            service_deployment_arn: newest,
            stop_type: stop_type.map(Into::into),
        })
    }

    pub fn alarm(&self, name: &str) {
        self.world
            .call::<cloudwatch::op::PutMetricAlarm>(cloudwatch::PutMetricAlarmInput {
                alarm_name: Some(name.into()),
                namespace: Some("AWS/ApplicationELB".into()),
                metric_name: Some("HTTPCode_Target_5XX_Count".into()),
                statistic: Some("Sum".into()),
                period: Some(60),
                evaluation_periods: Some(2),
                threshold: Some(1.0),
                comparison_operator: Some("GreaterThanThreshold".into()),
                ..Default::default()
            })
            .unwrap();
        self.set_alarm(name, "OK");
    }

    pub fn set_alarm(&self, name: &str, state: &str) {
        self.world
            .call::<cloudwatch::op::SetAlarmState>(cloudwatch::SetAlarmStateInput {
                alarm_name: Some(name.into()),
                state_value: Some(state.into()),
                state_reason: Some("a test".into()),
                ..Default::default()
            })
            .unwrap();
    }
}

fn alarms(rollback: bool) -> Option<aws::DeploymentConfiguration> {
    Some(aws::DeploymentConfiguration {
        alarms: Some(aws::DeploymentAlarms {
            alarm_names: Some(vec!["errors".into()]),
            enable: Some(true),
            rollback: Some(rollback),
        }),
        ..Default::default()
    })
}

#[test]
fn every_deployment_is_recorded_with_its_revisions() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 2, true);
    assert_eq!(stage.statuses(), ["PENDING"]);
    stage.reconciler.pass();
    assert_eq!(stage.statuses(), ["IN_PROGRESS"]);
    stage.settle();
    assert_eq!(stage.statuses(), ["SUCCESSFUL"]);
    let v2 = stage.define("api:v2");
    stage.update(|input| input.task_definition = Some(v2.clone()));
    let service = stage.service();
    let number = |id: &Option<String>| id.clone().unwrap().rsplit('/').next().unwrap().to_owned();
    let deployments = service.deployments.unwrap();
    let revisions = service.current_service_revisions.unwrap();
    assert_eq!(
        revisions.iter().map(|one| number(&one.arn)).collect::<Vec<_>>(),
        deployments.iter().map(|one| number(&one.id)).collect::<Vec<_>>()
    );
    stage.settle();
    let all = stage.deployments();
    assert_eq!(stage.statuses(), ["SUCCESSFUL", "SUCCESSFUL"]);
    assert_eq!(stage.service().current_service_deployment, all[0].service_deployment_arn);
    let prefix = "arn:aws:ecs:us-east-1:000000000000:service-deployment/demo/api/";
    assert!(all[0].service_deployment_arn.as_ref().unwrap().starts_with(prefix));
    let (target, source) =
        (all[0].target_service_revision.clone().unwrap(), all[0].source_service_revisions.clone().unwrap().remove(0));
    assert_eq!((target.requested_task_count, target.running_task_count), (Some(2), Some(2)));
    let input = aws::DescribeServiceRevisionsRequest {
        service_revision_arns: Some(vec![target.arn.unwrap(), source.arn.unwrap(), "arn:aws:ecs:none".into()]),
    };
    let output = stage.world.call::<op::DescribeServiceRevisions>(input).unwrap();
    let shown = output.service_revisions.unwrap();
    assert_eq!(shown.iter().map(|one| one.task_definition.clone().unwrap()).collect::<Vec<_>>(), [v2, v1]);
    assert_eq!(shown[0].container_images.as_ref().unwrap()[0].image.as_deref(), Some("api:v2"));
    assert_eq!(output.failures.unwrap()[0].reason.as_deref(), Some("MISSING"));
    let refused = stage.stop(None).unwrap_err();
    assert_eq!(refused.code, "ConflictException");
    let of_status = |status: &str| aws::ListServiceDeploymentsRequest {
        cluster: Some("demo".into()),
        service: Some("api".into()),
        status: Some(vec![status.into()]),
        max_results: Some(1),
        ..Default::default()
    };
    let page = stage.world.call::<op::ListServiceDeployments>(of_status("SUCCESSFUL")).unwrap();
    assert_eq!((page.service_deployments.unwrap().len(), page.next_token.is_some()), (1, true));
    let page = stage.world.call::<op::ListServiceDeployments>(of_status("STOPPED")).unwrap();
    assert!(page.service_deployments.unwrap().is_empty());
}

#[test]
fn a_stopped_deployment_goes_back_or_stays_as_it_is() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 1, true);
    stage.settle();
    let serving = id(&stage.tasks("RUNNING")[0]);
    let v2 = stage.define("api:v2");
    stage.healthy = false;
    stage.update(|input| input.task_definition = Some(v2.clone()));
    stage.reconciler.pass();
    stage.stop(None).unwrap();
    assert_eq!(stage.statuses()[0], "ROLLBACK_REQUESTED");
    stage.stop(Some("ROLLBACK")).unwrap();
    stage.reconciler.pass();
    assert_eq!(stage.statuses()[0], "ROLLBACK_IN_PROGRESS");
    stage.healthy = true;
    stage.settle();
    let newest = stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("ROLLBACK_SUCCESSFUL"));
    let rollback = newest.rollback.unwrap();
    assert_eq!(rollback.service_revision_arn, newest.source_service_revisions.unwrap()[0].arn);
    assert_eq!((stage.service().task_definition, id(&stage.tasks("RUNNING")[0])), (Some(v1.clone()), serving));
    // ABORT: no further task of it, and what serves goes on.
    stage.update(|input| input.task_definition = Some(v2.clone()));
    stage.stop(Some("ABORT")).unwrap();
    stage.settle();
    assert_eq!(stage.statuses()[0], "STOPPED");
    assert_eq!(stage.tasks("RUNNING")[0].task_definition_arn, Some(v1));
    // A newer one replaces an unfinished one.
    stage.update(|input| input.force_new_deployment = Some(true));
    stage.update(|input| input.force_new_deployment = Some(true));
    stage.settle();
    assert_eq!(stage.statuses(), ["SUCCESSFUL", "STOPPED", "STOPPED", "ROLLBACK_SUCCESSFUL", "SUCCESSFUL"]);
    let unknown = aws::StopServiceDeploymentRequest { service_deployment_arn: Some("none".into()), stop_type: None };
    let refused = stage.world.call::<op::StopServiceDeployment>(unknown).unwrap_err();
    assert_eq!(refused.code, "ServiceDeploymentNotFoundException");
    let input =
        aws::DeleteServiceRequest { cluster: Some("demo".into()), service: Some("api".into()), force: Some(true) };
    stage.world.call::<op::DeleteService>(input).unwrap();
    stage.settle();
    assert!(stage.deployments().is_empty(), "they go with their service");
}

#[test]
fn an_alarm_fails_a_deployment_until_the_end_of_its_bake_time() {
    let mut stage = Stage::new();
    stage.alarm("errors");
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 1, true);
    stage.update(|input| input.deployment_configuration = alarms(true));
    stage.settle();
    let v2 = stage.define("api:v2");
    stage.update(|input| input.task_definition = Some(v2.clone()));
    stage.settle();
    // Its tasks are up, and the old ones have gone: now its alarms are waited for.
    let newest = stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("IN_PROGRESS"));
    assert_eq!(newest.alarms.unwrap().status.as_deref(), Some("MONITORING"));
    assert_eq!(stage.tasks("RUNNING")[0].task_definition_arn, Some(v2.clone()));
    stage.set_alarm("errors", "ALARM");
    stage.settle();
    let newest = stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("ROLLBACK_SUCCESSFUL"));
    let told = newest.alarms.unwrap();
    assert_eq!((told.status.as_deref(), told.triggered_alarm_names), (Some("TRIGGERED"), Some(vec!["errors".into()])));
    assert_eq!(stage.tasks("RUNNING")[0].task_definition_arn, Some(v1.clone()));
    assert!(stage.events().iter().any(|event| event.ends_with("deployment failed: alarm detected.")));
    // What begins while it is in ALARM may be meant to mend just that.
    stage.update(|input| input.task_definition = Some(v2.clone()));
    stage.settle();
    let newest = stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("SUCCESSFUL"));
    assert_eq!(newest.alarms.unwrap().status.as_deref(), Some("DISABLED"));
    // Without a rollback it stays, failed.
    stage.set_alarm("errors", "OK");
    stage.update(|input| {
        input.deployment_configuration = alarms(false);
        input.task_definition = Some(v1.clone());
    });
    stage.reconciler.pass();
    stage.set_alarm("errors", "ALARM");
    stage.settle();
    assert_eq!(stage.statuses()[0], "STOPPED");
    assert_eq!(stage.service().deployments.unwrap()[0].rollout_state.as_deref(), Some("FAILED"));
    // And when nothing happens, the bake time ends.
    stage.set_alarm("errors", "OK");
    stage.update(|input| input.force_new_deployment = Some(true));
    stage.settle();
    assert_eq!(stage.statuses()[0], "IN_PROGRESS");
    stage.pass_time(Duration::from_secs(119));
    assert_eq!(stage.statuses()[0], "IN_PROGRESS");
    stage.pass_time(Duration::from_secs(1));
    let newest = stage.deployments().remove(0);
    assert_eq!(newest.status.as_deref(), Some("SUCCESSFUL"));
    assert_eq!(newest.alarms.unwrap().status.as_deref(), Some("MONITORING_COMPLETE"));
}
