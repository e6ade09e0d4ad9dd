//! What the platform acknowledged while it was being killed.

use super::*;

/// What was acknowledged, and so must hold.
#[derive(Default)]
pub struct Ledger {
    /// Desired count; `None`: deleted.
    pub services: BTreeMap<String, Option<i32>>,
    /// Exists or not.
    pub stacks: BTreeMap<String, bool>,
    /// Digests by tag.
    pub images: BTreeMap<String, String>,
}

impl Ledger {
    /// Deletes the services that there are.
    pub fn end_services(&mut self, aws: &Client, cluster: &str) {
        for (name, wanted) in self.services.iter_mut().filter(|(_, wanted)| wanted.is_some()) {
            block_on(aws.call::<DeleteService>(delete_service(cluster, name))).unwrap();
            *wanted = None;
        }
    }

    pub fn check(&self, stage: &Stage) {
        let aws = stage.platform.client().unwrap();
        let active: BTreeMap<_, _> =
            services(&aws, &stage.cluster).into_iter().map(|s| (s.service_name.clone().unwrap(), s)).collect();
        for (name, wanted) in &self.services {
            let desired = active.get(name).and_then(|s| s.desired_count);
            assert_eq!(desired, *wanted, "service {name} is not as acknowledged");
        }
        for (name, exists) in &self.stacks {
            let input = DescribeStacksInput { stack_name: Some(name.clone()), ..Default::default() };
            let found = block_on(aws.call::<DescribeStacks>(input));
            let status = found.ok().and_then(|f| f.stacks?.into_iter().next()?.stack_status);
            assert_eq!(status.as_deref(), exists.then_some("CREATE_COMPLETE"), "stack {name} is not as acknowledged");
            let service = active.contains_key(&format!("{name}-service"));
            assert_eq!(service, *exists, "the service of stack {name}");
        }
        for (tag, digest) in &self.images {
            let input = BatchGetImageRequest {
                repository_name: Some("chaos".into()),
                image_ids: Some(vec![ImageIdentifier { image_tag: Some(tag.clone()), ..Default::default() }]),
                ..Default::default()
            };
            let found = block_on(aws.call::<BatchGetImage>(input)).unwrap().images.unwrap_or_default();
            let found = found.first().and_then(|i| i.image_id.clone()?.image_digest);
            assert_eq!(found.as_ref(), Some(digest), "image {tag} is not as pushed");
        }
    }
}

/// Calls one after the other, each repeated until it is answered; what is answered goes into the ledger.
pub async fn call_away(
    aws: Client,
    endpoint: String,
    cluster: String,
    ledger: Arc<Mutex<Ledger>>,
    mut dice: Dice,
    round: usize,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let stack = format!("chaos-stack-{round}");
    macro_rules! until_answered {
        ($call:expr) => {
            loop {
                match $call.await {
                    Ok(answer) => break answer,
                    Err(error) if error.is_transport() && Instant::now() < deadline => {}
                    Err(error) => panic!("{}: {error}", stringify!($call)),
                }
            }
        };
    }
    let template = json!({"Resources": {
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": format!("/{stack}")}},
        "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": stack}},
        "Service": {"Type": "AWS::ECS::Service", "DependsOn": ["Logs", "Repository"], "Properties": {
            "Cluster": cluster, "TaskDefinition": "chaos", "DesiredCount": 1, "ServiceName": format!("{stack}-service")}}
    }});
    let create_stack = CreateStackInput {
        stack_name: Some(stack.clone()),
        template_body: Some(template.to_string()),
        client_request_token: Some(format!("create-{stack}")),
        ..Default::default()
    };
    until_answered!(aws.call::<CreateStack>(create_stack.clone()));
    for n in 0..2 {
        let name = format!("chaos-{round}-{n}");
        let create = CreateServiceRequest {
            cluster: Some(cluster.clone()),
            service_name: Some(name.clone()),
            task_definition: Some("chaos".into()),
            desired_count: Some(1 + dice.below(2) as i32),
            client_token: Some(format!("token-{name}")),
            ..Default::default()
        };
        until_answered!(aws.call::<CreateService>(create.clone()));
        ledger.lock().unwrap().services.insert(name.clone(), create.desired_count);
        let update = UpdateServiceRequest {
            cluster: Some(cluster.clone()),
            service: Some(name.clone()),
            desired_count: Some(dice.below(3) as i32),
            force_new_deployment: Some(dice.below(2) == 0),
            ..Default::default()
        };
        until_answered!(aws.call::<UpdateService>(update.clone()));
        ledger.lock().unwrap().services.insert(name.clone(), update.desired_count);

        let bytes: Vec<u8> = (0..200_000).map(|_| dice.below(256) as u8).collect();
        let image = oci::OciImage {
            config: format!(r#"{{"architecture":"amd64","os":"linux","chaos":"{name}"}}"#).into(),
            layers: vec![oci::OciLayer::new(oci::LAYER_GZIP, bytes)],
        };
        let digest = loop {
            match push(&aws, &endpoint, "chaos", &name, &image).await {
                Ok(digest) => break digest,
                Err(error) => assert!(Instant::now() < deadline, "push: {error}"),
            }
        };
        ledger.lock().unwrap().images.insert(name.clone(), digest);
        if n == 1 {
            until_answered!(aws.call::<DeleteService>(delete_service(&cluster, &name)));
            ledger.lock().unwrap().services.insert(name, None);
        }
    }
    let status = loop {
        let described = until_answered!(
            aws.call::<DescribeStacks>(DescribeStacksInput { stack_name: Some(stack.clone()), ..Default::default() })
        );
        let status = described.stacks.unwrap_or_default().remove(0).stack_status.unwrap_or_default();
        if status != "CREATE_IN_PROGRESS" {
            break status;
        }
        assert!(Instant::now() < deadline, "stack {stack} is not made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status, "CREATE_COMPLETE", "{stack}");
    ledger.lock().unwrap().stacks.insert(stack.clone(), true);
    let delete = DeleteStackInput { stack_name: Some(stack.clone()), ..Default::default() };
    until_answered!(aws.call::<DeleteStack>(delete.clone()));
    ledger.lock().unwrap().stacks.insert(stack.clone(), false);
    if dice.below(2) == 0 {
        let name = format!("chaos-{round}-0");
        until_answered!(aws.call::<DeleteService>(delete_service(&cluster, &name)));
        ledger.lock().unwrap().services.insert(name, None);
    }
}

pub fn delete_service(cluster: &str, name: &str) -> DeleteServiceRequest {
    DeleteServiceRequest { cluster: Some(cluster.into()), service: Some(name.into()), force: Some(true) }
}

pub trait IsTransport {
    fn is_transport(&self) -> bool;
}

impl IsTransport for quarry_client::CallError {
    fn is_transport(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}
