//! Launch templates and their versions.

use super::*;
use crate::ec2::launch_template;

fn data() -> RequestLaunchTemplateData {
    RequestLaunchTemplateData {
        image_id: Some("ami-0123456789abcdef0".into()),
        instance_type: Some("t3.small".into()),
        ..Default::default()
    }
}

fn create(world: &World, name: &str, data: RequestLaunchTemplateData) -> Result<LaunchTemplate> {
    let input = CreateLaunchTemplateRequest {
        launch_template_name: Some(name.into()),
        launch_template_data: Some(data),
        ..Default::default()
    };
    Ok(world.call::<CreateLaunchTemplate>(input)?.launch_template.unwrap())
}

#[test]
fn versions_follow_each_other_and_references_find_them() {
    let world = world();
    let made = create(&world, "hosts", data()).unwrap();
    let id = made.launch_template_id.clone().unwrap();
    assert_eq!(code(create(&world, "hosts", data())), "InvalidLaunchTemplateName.AlreadyExistsException");
    let next = CreateLaunchTemplateVersionRequest {
        launch_template_id: Some(id.clone()),
        source_version: Some("$Latest".into()),
        launch_template_data: Some(RequestLaunchTemplateData {
            instance_type: Some("t3.medium".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let second = world.call::<CreateLaunchTemplateVersion>(next.clone()).unwrap().launch_template_version.unwrap();
    assert_eq!((second.version_number, second.default_version), (Some(2), Some(false)));
    assert_eq!(second.launch_template_data.unwrap().image_id.as_deref(), Some("ami-0123456789abcdef0"));
    let bare = CreateLaunchTemplateVersionRequest { source_version: None, ..next };
    let third = world.call::<CreateLaunchTemplateVersion>(bare).unwrap().launch_template_version.unwrap();
    assert_eq!(third.launch_template_data.unwrap().image_id, None);

    let number = |version: Option<&str>| {
        let found = world.transact(|ctx| launch_template::resolve(ctx.tx, None, Some("hosts"), version));
        found.map(|version| version.version_number.unwrap())
    };
    assert_eq!((number(None), number(Some("$Latest")), number(Some("2"))), (Ok(1), Ok(3), Ok(2)));
    assert_eq!(code(number(Some("9"))), "InvalidLaunchTemplateId.VersionNotFound");
    let input = ModifyLaunchTemplateRequest {
        launch_template_name: Some("hosts".into()),
        default_version: Some("2".into()),
        ..Default::default()
    };
    let modified = world.call::<ModifyLaunchTemplate>(input).unwrap().launch_template.unwrap();
    assert_eq!((modified.default_version_number, number(None)), (Some(2), Ok(2)));

    let delete = DeleteLaunchTemplateVersionsRequest {
        launch_template_id: Some(id.clone()),
        versions: Some(vec!["2".into(), "3".into(), "7".into()]),
        ..Default::default()
    };
    let outcome = world.call::<DeleteLaunchTemplateVersions>(delete).unwrap();
    assert_eq!(outcome.successfully_deleted_launch_template_versions.unwrap().len(), 1);
    assert_eq!(outcome.unsuccessfully_deleted_launch_template_versions.unwrap().len(), 2);
    let versions = |change: &dyn Fn(&mut DescribeLaunchTemplateVersionsRequest)| {
        let mut input =
            DescribeLaunchTemplateVersionsRequest { launch_template_id: Some(id.clone()), ..Default::default() };
        change(&mut input);
        let found = world.call::<DescribeLaunchTemplateVersions>(input)?.launch_template_versions.unwrap();
        Ok(found.into_iter().map(|v| v.version_number.unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(versions(&|_| ()).unwrap(), [2, 1]);
    assert_eq!(versions(&|i| i.versions = Some(vec!["$Default".into()])).unwrap(), [2]);
    assert_eq!(versions(&|i| i.min_version = Some("2".into())).unwrap(), [2]);
    let input = DeleteLaunchTemplateRequest { launch_template_id: Some(id.clone()), ..Default::default() };
    world.call::<DeleteLaunchTemplate>(input.clone()).unwrap();
    assert_eq!(code(versions(&|_| ())), "InvalidLaunchTemplateId.NotFound");
    assert_eq!(code(world.call::<DeleteLaunchTemplate>(input)), "InvalidLaunchTemplateId.NotFound");
}

#[test]
fn what_no_instance_here_can_be_is_refused() {
    let world = world();
    type Change = fn(&mut RequestLaunchTemplateData);
    let cases: [(Change, &str); 5] = [
        (|d| d.instance_type = Some("x9.huge".into()), "InvalidInstanceType"),
        (|d| d.instance_market_options = Some(Default::default()), "UnsupportedOperation"),
        (|d| d.user_data = Some("#!/bin/sh".into()), "InvalidUserData.Malformed"),
        (
            |d| {
                d.network_interfaces = Some(vec![LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
                    device_index: Some(1),
                    ..Default::default()
                }]);
            },
            "UnsupportedOperation",
        ),
        (
            |d| {
                d.placement =
                    Some(LaunchTemplatePlacementRequest { tenancy: Some("dedicated".into()), ..Default::default() });
            },
            "UnsupportedOperation",
        ),
    ];
    for (change, expected) in cases {
        let mut given = data();
        change(&mut given);
        assert_eq!(code(create(&world, "hosts", given)), expected);
    }
    assert_eq!(code(create(&world, "a b", data())), "InvalidLaunchTemplateName.MalformedException");
    let listed = world.call::<DescribeLaunchTemplates>(Default::default()).unwrap().launch_templates;
    assert_eq!(listed, Some(Vec::new()));
}
