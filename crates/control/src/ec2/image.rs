//! Machine images: the ECS-optimised ones that the public SSM parameters name. Instances are not
//! booted from them.

use super::resource::{Resource, choose, page};
use crate::api::{Ctx, Result};
use crate::ssm::public::{PublicImage, images};
use crate::store::Item;
use quarry_aws::ec2::{BlockDeviceMapping, DescribeImagesRequest, DescribeImagesResult, EbsBlockDevice, Image, Tag};
use serde::{Deserialize, Serialize};

/// AWS's account that publishes the ECS-optimised images.
const OWNER: &str = "591542846629";
/// When the first of them was published here.
const CREATED: &str = "2026-01-01T00:00:00.000Z";

/// An image as it is described and filtered; it is not kept.
#[derive(Clone, Serialize, Deserialize)]
struct ImageView {
    image: Image,
}

impl Item for ImageView {
    const KIND: &'static str = "ec2.image";
    fn key(&self) -> String {
        self.image.image_id.clone().unwrap_or_default()
    }
}

impl Resource for ImageView {
    const TYPE: &'static str = "image";
    const NOUN: &'static str = "image id";
    const NOT_FOUND: &'static str = "InvalidAMIID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.image.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.image.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        Some(match name {
            "image-id" => vec![self.key()],
            "name" => one(&self.image.name),
            "architecture" => one(&self.image.architecture),
            "description" => one(&self.image.description),
            "hypervisor" => one(&self.image.hypervisor),
            "image-type" => one(&self.image.image_type),
            "is-public" => vec!["true".into()],
            "owner-alias" => one(&self.image.image_owner_alias),
            "owner-id" => one(&self.image.owner_id),
            "root-device-name" => one(&self.image.root_device_name),
            "root-device-type" => one(&self.image.root_device_type),
            "block-device-mapping.volume-type" => vec!["gp3".into()],
            "state" => one(&self.image.state),
            "virtualization-type" => one(&self.image.virtualization_type),
            _ => return None,
        })
    }
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeImagesRequest) -> Result<DescribeImagesResult> {
    let own = &ctx.platform.place().account;
    let all: Vec<ImageView> = images().into_iter().map(|image| ImageView { image: shown(image) }).collect();
    let mut found = choose(all, input.image_ids, input.filters)?;
    let owners = input.owners.unwrap_or_default();
    // `self` has none: images cannot be made here.
    let published = |owner: &String| matches!(owner.as_str(), "amazon" | OWNER);
    found.retain(|_| owners.is_empty() || owners.iter().any(published));
    // Public images are launchable by everybody, but not by an account's own permission.
    let users = input.executable_users.unwrap_or_default();
    found.retain(|_| users.is_empty() || users.iter().any(|user| user == "all" || user == own));
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    Ok(DescribeImagesResult { images: Some(found.into_iter().map(|view| view.image).collect()), next_token })
}

fn shown(image: PublicImage) -> Image {
    Image {
        architecture: Some(if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.into()),
        block_device_mappings: Some(vec![BlockDeviceMapping {
            device_name: Some("/dev/xvda".into()),
            ebs: Some(EbsBlockDevice {
                delete_on_termination: Some(true),
                encrypted: Some(false),
                volume_size: Some(30),
                volume_type: Some("gp3".into()),
                ..Default::default()
            }),
            ..Default::default()
        }]),
        creation_date: Some(CREATED.into()),
        description: Some(format!("{} with the ECS agent", image.os)),
        ena_support: Some(true),
        hypervisor: Some("xen".into()),
        image_id: Some(image.id),
        image_location: Some(format!("amazon/{}", image.name)),
        image_owner_alias: Some("amazon".into()),
        image_type: Some("machine".into()),
        name: Some(image.name),
        owner_id: Some(OWNER.into()),
        platform_details: Some("Linux/UNIX".into()),
        public: Some(true),
        root_device_name: Some("/dev/xvda".into()),
        root_device_type: Some("ebs".into()),
        state: Some("available".into()),
        usage_operation: Some("RunInstances".into()),
        virtualization_type: Some("hvm".into()),
        tags: Some(Vec::new()),
        ..Default::default()
    }
}
