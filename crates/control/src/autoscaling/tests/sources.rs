//! Groups that launch from templates.

use super::*;

fn template(stage: &Stage, name: &str) -> String {
    let data = ec2::RequestLaunchTemplateData {
        image_id: Some("ami-0123456789abcdef0".into()),
        instance_type: Some("t3.small".into()),
        user_data: Some(base64::engine::general_purpose::STANDARD.encode("echo ECS_CLUSTER=demo")),
        iam_instance_profile: Some(ec2::LaunchTemplateIamInstanceProfileSpecificationRequest {
            name: Some("hosts".into()),
            ..Default::default()
        }),
        tag_specifications: Some(vec![ec2::LaunchTemplateTagSpecificationRequest {
            resource_type: Some("instance".into()),
            tags: Some(vec![ec2::Tag { key: Some("from".into()), value: Some("template".into()) }]),
        }]),
        ..Default::default()
    };
    let input = ec2::CreateLaunchTemplateRequest {
        launch_template_name: Some(name.into()),
        launch_template_data: Some(data),
        ..Default::default()
    };
    let made = stage.world.call::<ec2::op::CreateLaunchTemplate>(input).unwrap();
    made.launch_template.unwrap().launch_template_id.unwrap()
}

fn by_name(name: &str, version: &str) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification {
        launch_template_name: Some(name.into()),
        version: Some(version.into()),
        ..Default::default()
    }
}

fn from_template(input: &mut CreateAutoScalingGroupType, specification: LaunchTemplateSpecification) {
    input.launch_configuration_name = None;
    input.launch_template = Some(specification);
}

#[test]
fn instances_come_from_the_version_that_is_named_and_join_its_cluster() {
    let mut stage = Stage::new();
    stage.create_cluster();
    let id = template(&stage, "hosts");
    stage.create(|input| from_template(input, by_name("hosts", "$Latest"))).unwrap();
    let shown = stage.group();
    let named = shown.launch_template.unwrap();
    assert_eq!((named.launch_template_id.as_ref(), named.version.as_deref()), (Some(&id), Some("$Latest")));
    stage.pass();
    assert_eq!(stage.registered(), stage.instances().into_iter().collect());
    let running = stage.running();
    assert!(running.iter().all(|i| i.instance_type.as_deref() == Some("t3.small") && i.iam_instance_profile.is_some()));
    let tag = |i: &ec2::Instance, key: &str| {
        i.tags.iter().flatten().find(|t| t.key.as_deref() == Some(key)).and_then(|t| t.value.clone())
    };
    assert_eq!(tag(&running[0], "from").as_deref(), Some("template"));
    assert_eq!(tag(&running[0], "aws:ec2launchtemplate:id"), Some(id.clone()));
    // A newer version: what is launched from now on is of it, and the older ones go first.
    let old = stage.instances();
    let next = ec2::CreateLaunchTemplateVersionRequest {
        launch_template_id: Some(id),
        source_version: Some("1".into()),
        launch_template_data: Some(ec2::RequestLaunchTemplateData {
            instance_type: Some("t3.medium".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    stage.world.call::<ec2::op::CreateLaunchTemplateVersion>(next).unwrap();
    stage.update(|input| input.desired_capacity = Some(4)).unwrap();
    stage.pass();
    let versions = stage.group().instances.unwrap().into_iter().map(|i| i.launch_template.unwrap().version.unwrap());
    assert_eq!(versions.collect::<Vec<_>>(), ["1", "1", "2", "2"]);
    stage.update(|input| input.desired_capacity = Some(2)).unwrap();
    stage.pass();
    assert!(stage.instances().iter().all(|id| !old.contains(id)));
}

#[test]
fn a_mixed_policy_takes_the_first_type_on_demand() {
    let mut stage = Stage::new();
    template(&stage, "hosts");
    let policy = |percentage: Option<i32>, weight: Option<&str>| MixedInstancesPolicy {
        launch_template: Some(LaunchTemplate {
            launch_template_specification: Some(by_name("hosts", "$Default")),
            overrides: Some(
                ["t3.large", "t3.medium"]
                    .map(|kind| LaunchTemplateOverrides {
                        instance_type: Some(kind.into()),
                        weighted_capacity: weight.map(str::to_owned),
                        ..Default::default()
                    })
                    .into(),
            ),
        }),
        instances_distribution: Some(InstancesDistribution {
            on_demand_percentage_above_base_capacity: percentage,
            ..Default::default()
        }),
    };
    let mixed = |given: MixedInstancesPolicy| {
        stage.create(|input| {
            input.launch_configuration_name = None;
            input.mixed_instances_policy = Some(given);
        })
    };
    assert!(mixed(policy(Some(50), None)).unwrap_err().message.contains("Spot"));
    assert!(mixed(policy(None, Some("2"))).unwrap_err().message.contains("WeightedCapacity"));
    mixed(policy(None, None)).unwrap();
    stage.pass();
    assert!(stage.running().iter().all(|i| i.instance_type.as_deref() == Some("t3.large")));
    // And back to a configuration.
    stage.update(|input| input.launch_configuration_name = Some("lc".into())).unwrap();
    let shown = stage.group();
    assert_eq!((shown.mixed_instances_policy, shown.launch_configuration_name.as_deref()), (None, Some("lc")));
}

#[test]
fn what_cannot_be_launched_from_is_refused() {
    let stage = Stage::new();
    let refused = stage.create(|input| from_template(input, by_name("none", "1"))).unwrap_err();
    assert!(refused.message.contains("does not exist"), "{refused}");
    template(&stage, "hosts");
    let refused = stage.create(|input| from_template(input, by_name("hosts", "7"))).unwrap_err();
    assert_eq!(refused.code, "ValidationError");
    let refused = stage.create(|input| input.launch_template = Some(by_name("hosts", "1"))).unwrap_err();
    assert!(refused.message.starts_with("Valid requests must contain either LaunchTemplate"), "{refused}");
    let empty = ec2::CreateLaunchTemplateRequest {
        launch_template_name: Some("bare".into()),
        launch_template_data: Some(Default::default()),
        ..Default::default()
    };
    stage.world.call::<ec2::op::CreateLaunchTemplate>(empty).unwrap();
    let refused = stage.create(|input| from_template(input, by_name("bare", "1"))).unwrap_err();
    assert!(refused.message.contains("ImageId"), "{refused}");
    assert!(stage.groups().is_empty());
}
