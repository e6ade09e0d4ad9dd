//! Launch templates and their versions: what Auto Scaling launches instances from.
//!
//! Of a version's data image, instance type, instance profile, key name, user data, security groups,
//! subnet and tags have effect. Disks, the metadata service, monitoring and the like are kept and
//! shown: an instance here has none of them. What would choose another kind of instance is refused.

use super::resource::{Resource, error, new_id, page, required, select, tags_for};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::ec2::{
    CreateLaunchTemplateRequest, CreateLaunchTemplateResult, CreateLaunchTemplateVersionRequest,
    CreateLaunchTemplateVersionResult, DeleteLaunchTemplateRequest, DeleteLaunchTemplateResult,
    DeleteLaunchTemplateVersionsRequest, DeleteLaunchTemplateVersionsResponseErrorItem,
    DeleteLaunchTemplateVersionsResponseSuccessItem, DeleteLaunchTemplateVersionsResult,
    DescribeLaunchTemplateVersionsRequest, DescribeLaunchTemplateVersionsResult, DescribeLaunchTemplatesRequest,
    DescribeLaunchTemplatesResult, Filter, LaunchTemplate, LaunchTemplateVersion, ModifyLaunchTemplateRequest,
    ModifyLaunchTemplateResult, RequestLaunchTemplateData, ResponseError, ResponseLaunchTemplateData, Tag,
};
use quarry_wire::{ServiceError, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct TemplateRecord {
    pub template: LaunchTemplate,
    /// A repeated creation with it makes nothing twice.
    client_token: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct VersionRecord {
    pub version: LaunchTemplateVersion,
}

impl Item for TemplateRecord {
    const KIND: &'static str = "ec2.launch-template";
    fn key(&self) -> String {
        self.template.launch_template_id.clone().unwrap_or_default()
    }
}

/// The id of a template by its id or name.
pub fn id_of(tx: &Tx<'_>, named: &str) -> Result<Option<String>, StoreError> {
    let all = tx.all::<TemplateRecord>()?;
    Ok(all.into_iter().find(|known| known.key() == named || known.name() == named).map(|known| known.key()))
}

impl Item for VersionRecord {
    const KIND: &'static str = "ec2.launch-template-version";
    fn key(&self) -> String {
        format!("{}/{}", self.parent(), self.number())
    }
    fn parent(&self) -> String {
        self.version.launch_template_id.clone().unwrap_or_default()
    }
}

impl Resource for TemplateRecord {
    const TYPE: &'static str = "launch-template";
    const NOUN: &'static str = "launch template ID";
    const NOT_FOUND: &'static str = "InvalidLaunchTemplateId.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.template.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.template.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "launch-template-name" => vec![self.name().to_owned()],
            "create-time" => self.template.create_time.iter().map(|at| at.to_string()).collect(),
            _ => return None,
        })
    }
}

impl TemplateRecord {
    fn name(&self) -> &str {
        self.template.launch_template_name.as_deref().unwrap_or_default()
    }

    fn default_number(&self) -> i64 {
        self.template.default_version_number.unwrap_or(1)
    }

    fn latest_number(&self) -> i64 {
        self.template.latest_version_number.unwrap_or(1)
    }
}

impl VersionRecord {
    fn number(&self) -> i64 {
        self.version.version_number.unwrap_or_default()
    }
}

/// The version that a reference names now: by id or name, and a number, `$Latest` or `$Default`
/// (also if no version is given).
pub fn resolve(
    tx: &Tx<'_>,
    id: Option<&str>,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<LaunchTemplateVersion> {
    let template = named(tx, id, name)?;
    let version = version.filter(|version| !version.is_empty()).unwrap_or("$Default");
    Ok(version_of(tx, &template, version)?.version)
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateLaunchTemplateRequest) -> Result<CreateLaunchTemplateResult> {
    let name = required(input.launch_template_name, "LaunchTemplateName")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-()./_".contains(c);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(legal) {
        let message = "Launch template names must be 3 to 128 characters long and contain only letters, numbers and the characters - ( ) . / _";
        return Err(error("InvalidLaunchTemplateName.MalformedException", message));
    }
    let token = input.client_token;
    let all = ctx.tx.all::<TemplateRecord>()?;
    if let Some(made) = all.iter().find(|made| token.is_some() && made.client_token == token) {
        return Ok(CreateLaunchTemplateResult { launch_template: Some(made.template.clone()), warning: None });
    }
    if all.iter().any(|other| other.name() == name) {
        let message = "Launch template name already in use.";
        return Err(error("InvalidLaunchTemplateName.AlreadyExistsException", message));
    }
    let data = checked(required(input.launch_template_data, "LaunchTemplateData")?)?;
    let template = LaunchTemplate {
        launch_template_id: Some(new_id(ctx, "lt")),
        launch_template_name: Some(name),
        create_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        created_by: Some(ctx.caller.arn.clone()),
        default_version_number: Some(1),
        latest_version_number: Some(1),
        tags: tags_for::<TemplateRecord>(input.tag_specifications)?,
        ..Default::default()
    };
    ctx.tx.put(&version(ctx, &template, 1, input.version_description, data))?;
    ctx.tx.put(&TemplateRecord { template: template.clone(), client_token: token })?;
    Ok(CreateLaunchTemplateResult { launch_template: Some(template), warning: None })
}

/// With a source version, what the request leaves out is taken from it.
pub fn create_version(
    ctx: &mut Ctx<'_>,
    input: CreateLaunchTemplateVersionRequest,
) -> Result<CreateLaunchTemplateVersionResult> {
    let mut record = named(ctx.tx, input.launch_template_id.as_deref(), input.launch_template_name.as_deref())?;
    let mut data = checked(required(input.launch_template_data, "LaunchTemplateData")?)?;
    if let Some(source) = &input.source_version {
        let source = version_of(ctx.tx, &record, source)?.version.launch_template_data.unwrap_or_default();
        data = over(source, data)?;
    }
    let number = record.latest_number() + 1;
    record.template.latest_version_number = Some(number);
    let made = version(ctx, &record.template, number, input.version_description, data);
    ctx.tx.put(&made)?;
    ctx.tx.put(&record)?;
    let launch_template_version = Some(shown(&record, made));
    Ok(CreateLaunchTemplateVersionResult { launch_template_version, warning: None })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeLaunchTemplatesRequest) -> Result<DescribeLaunchTemplatesResult> {
    let names = input.launch_template_names.unwrap_or_default();
    let mut ids = input.launch_template_ids.unwrap_or_default();
    for id in &ids {
        named(ctx.tx, Some(id), None)?;
    }
    for name in &names {
        ids.push(named(ctx.tx, None, Some(name))?.key());
    }
    let mut found = select::<TemplateRecord>(ctx, None, input.filters)?;
    found.retain(|record| ids.is_empty() || ids.contains(&record.key()));
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let launch_templates = Some(found.into_iter().map(|record| record.template).collect());
    Ok(DescribeLaunchTemplatesResult { launch_templates, next_token })
}

/// Of one template, newest first; or the `$Latest` or `$Default` ones of all templates.
pub fn describe_versions(
    ctx: &mut Ctx<'_>,
    input: DescribeLaunchTemplateVersionsRequest,
) -> Result<DescribeLaunchTemplateVersionsResult> {
    let wanted = input.versions.unwrap_or_default();
    let (id, name) = (input.launch_template_id, input.launch_template_name);
    let mut found = Vec::new();
    if id.is_none() && name.is_none() {
        if wanted.is_empty() || wanted.iter().any(|version| !matches!(version.as_str(), "$Latest" | "$Default")) {
            let message = "Versions must be $Latest, $Default or both where no launch template is named.";
            return Err(error("MissingParameter", message));
        }
        for record in ctx.tx.all::<TemplateRecord>()? {
            for version in &wanted {
                found.push(shown(&record, version_of(ctx.tx, &record, version)?));
            }
        }
    } else {
        let record = named(ctx.tx, id.as_deref(), name.as_deref())?;
        if wanted.is_empty() {
            let bound = |text: &Option<String>| text.as_deref().map(number).transpose();
            let (min, max) = (bound(&input.min_version)?, bound(&input.max_version)?);
            let mut versions = ctx.tx.children::<VersionRecord>(&record.key())?;
            versions.reverse();
            versions.retain(|v| min.is_none_or(|min| v.number() >= min) && max.is_none_or(|max| v.number() <= max));
            found.extend(versions.into_iter().map(|version| shown(&record, version)));
        } else {
            for version in &wanted {
                found.push(shown(&record, version_of(ctx.tx, &record, version)?));
            }
        }
    }
    for filter in input.filters.iter().flatten() {
        let passes = version_filter(filter)?;
        found.retain(|version| passes(version));
    }
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    Ok(DescribeLaunchTemplateVersionsResult { launch_template_versions: Some(found), next_token })
}

pub fn modify(ctx: &mut Ctx<'_>, input: ModifyLaunchTemplateRequest) -> Result<ModifyLaunchTemplateResult> {
    let mut record = named(ctx.tx, input.launch_template_id.as_deref(), input.launch_template_name.as_deref())?;
    if let Some(default) = &input.default_version {
        let version = version_of(ctx.tx, &record, default)?;
        record.template.default_version_number = Some(version.number());
        ctx.tx.put(&record)?;
    }
    Ok(ModifyLaunchTemplateResult { launch_template: Some(record.template) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteLaunchTemplateRequest) -> Result<DeleteLaunchTemplateResult> {
    let record = named(ctx.tx, input.launch_template_id.as_deref(), input.launch_template_name.as_deref())?;
    for version in ctx.tx.children::<VersionRecord>(&record.key())? {
        ctx.tx.delete::<VersionRecord>(&version.key())?;
    }
    ctx.tx.delete::<TemplateRecord>(&record.key())?;
    Ok(DeleteLaunchTemplateResult { launch_template: Some(record.template) })
}

/// The default version stays; what is refused is told beside what went.
pub fn delete_versions(
    ctx: &mut Ctx<'_>,
    input: DeleteLaunchTemplateVersionsRequest,
) -> Result<DeleteLaunchTemplateVersionsResult> {
    let mut record = named(ctx.tx, input.launch_template_id.as_deref(), input.launch_template_name.as_deref())?;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for wanted in required(input.versions, "LaunchTemplateVersion")? {
        let number = number(&wanted)?;
        let refusal = if number == record.default_number() {
            Some(("unexpectedError", "Cannot delete the default version of a launch template.".to_owned()))
        } else if !ctx.tx.delete::<VersionRecord>(&format!("{}/{number}", record.key()))? {
            Some(("launchTemplateVersionDoesNotExist", no_version(&record, &wanted).message))
        } else {
            None
        };
        let (launch_template_id, launch_template_name) = (Some(record.key()), Some(record.name().to_owned()));
        match refusal {
            None => gone.push(DeleteLaunchTemplateVersionsResponseSuccessItem {
                launch_template_id,
                launch_template_name,
                version_number: Some(number),
            }),
            Some((code, message)) => kept.push(DeleteLaunchTemplateVersionsResponseErrorItem {
                launch_template_id,
                launch_template_name,
                version_number: Some(number),
                response_error: Some(ResponseError { code: Some(code.into()), message: Some(message) }),
            }),
        }
    }
    let left = ctx.tx.children::<VersionRecord>(&record.key())?;
    record.template.latest_version_number = left.iter().map(VersionRecord::number).max();
    ctx.tx.put(&record)?;
    Ok(DeleteLaunchTemplateVersionsResult {
        successfully_deleted_launch_template_versions: Some(gone),
        unsuccessfully_deleted_launch_template_versions: Some(kept),
    })
}

fn named(tx: &Tx<'_>, id: Option<&str>, name: Option<&str>) -> Result<TemplateRecord> {
    match (id, name) {
        (Some(id), None) => tx.get::<TemplateRecord>(id)?.ok_or_else(|| {
            error(
                TemplateRecord::NOT_FOUND,
                format!("The specified launch template, with template ID {id}, does not exist."),
            )
        }),
        (None, Some(name)) => {
            tx.all::<TemplateRecord>()?.into_iter().find(|record| record.name() == name).ok_or_else(|| {
                error(
                    "InvalidLaunchTemplateName.NotFoundException",
                    format!("The specified launch template, with template name {name}, does not exist."),
                )
            })
        }
        (None, None) => Err(error("MissingParameter", "Either a launch template ID or name must be specified.")),
        _ => Err(error("InvalidParameterCombination", "You may specify a launch template ID or name, but not both.")),
    }
}

fn version_of(tx: &Tx<'_>, template: &TemplateRecord, text: &str) -> Result<VersionRecord> {
    let number = match text {
        "$Latest" => template.latest_number(),
        "$Default" => template.default_number(),
        other => number(other)?,
    };
    let found = tx.get::<VersionRecord>(&format!("{}/{number}", template.key()))?;
    found.ok_or_else(|| no_version(template, text))
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| {
        error(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!("Could not find launch template version {text}: it is neither a number nor $Latest or $Default."),
        )
    })
}

fn no_version(template: &TemplateRecord, text: &str) -> ServiceError {
    let message =
        format!("Could not find the specified version {text} for the launch template with ID {}.", template.key());
    error("InvalidLaunchTemplateId.VersionNotFound", message)
}

fn version(
    ctx: &Ctx<'_>,
    template: &LaunchTemplate,
    number: i64,
    description: Option<String>,
    data: ResponseLaunchTemplateData,
) -> VersionRecord {
    VersionRecord {
        version: LaunchTemplateVersion {
            launch_template_id: template.launch_template_id.clone(),
            launch_template_name: template.launch_template_name.clone(),
            version_number: Some(number),
            version_description: description,
            create_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
            created_by: Some(ctx.caller.arn.clone()),
            launch_template_data: Some(data),
            ..Default::default()
        },
    }
}

fn shown(template: &TemplateRecord, record: VersionRecord) -> LaunchTemplateVersion {
    let default = record.number() == template.default_number();
    LaunchTemplateVersion { default_version: Some(default), ..record.version }
}

fn version_filter(filter: &Filter) -> Result<impl Fn(&LaunchTemplateVersion) -> bool + '_> {
    let name = filter.name.as_deref().unwrap_or_default();
    let field: fn(&LaunchTemplateVersion) -> Option<String> = match name {
        "is-default-version" => |version| version.default_version.map(|is| is.to_string()),
        "image-id" => |version| version.launch_template_data.as_ref()?.image_id.clone(),
        "instance-type" => |version| version.launch_template_data.as_ref()?.instance_type.clone(),
        "iam-instance-profile" => {
            |version| version.launch_template_data.as_ref()?.iam_instance_profile.as_ref()?.arn.clone()
        }
        "create-time" => |version| version.create_time.map(|at| at.to_string()),
        _ => return Err(error("InvalidParameterValue", format!("The filter '{name}' is invalid"))),
    };
    Ok(move |version: &LaunchTemplateVersion| {
        field(version).is_some_and(|value| filter.values.iter().flatten().any(|wanted| *wanted == value))
    })
}

/// What a version keeps of a request. The two shapes have the same members.
fn checked(data: RequestLaunchTemplateData) -> Result<ResponseLaunchTemplateData> {
    let refused = [
        ("CapacityReservationSpecification", data.capacity_reservation_specification.is_some()),
        ("CpuOptions", data.cpu_options.is_some()),
        ("ElasticGpuSpecifications", has_any(&data.elastic_gpu_specifications)),
        ("ElasticInferenceAccelerators", has_any(&data.elastic_inference_accelerators)),
        ("EnclaveOptions", data.enclave_options.as_ref().is_some_and(|o| o.enabled == Some(true))),
        ("HibernationOptions", data.hibernation_options.as_ref().is_some_and(|o| o.configured == Some(true))),
        ("InstanceMarketOptions", data.instance_market_options.is_some()),
        ("InstanceRequirements", data.instance_requirements.is_some()),
        ("KernelId", data.kernel_id.is_some()),
        ("LicenseSpecifications", has_any(&data.license_specifications)),
        ("Operator", data.operator.is_some()),
        ("RamDiskId", data.ram_disk_id.is_some()),
        ("SecondaryInterfaces", has_any(&data.secondary_interfaces)),
        ("SecurityGroups", has_any(&data.security_groups)),
    ];
    if let Some((member, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(error("UnsupportedOperation", format!("{member} is not supported in launch templates.")));
    }
    let tenancy = data.placement.as_ref().and_then(|placement| placement.tenancy.as_deref());
    let group =
        data.placement.as_ref().is_some_and(|p| p.group_name.is_some() || p.group_id.is_some() || p.host_id.is_some());
    if group || tenancy.is_some_and(|tenancy| tenancy != "default") {
        let message = "Placement groups, dedicated hosts and dedicated tenancy are not supported.";
        return Err(error("UnsupportedOperation", message));
    }
    let interfaces = data.network_interfaces.as_deref().unwrap_or_default();
    let beyond_first = interfaces.len() > 1 || interfaces.iter().any(|i| i.device_index.unwrap_or(0) != 0);
    let special = interfaces.iter().any(|i| {
        i.network_interface_id.is_some()
            || i.private_ip_address.is_some()
            || has_any(&i.private_ip_addresses)
            || i.secondary_private_ip_address_count.is_some()
            || i.ipv6_address_count.is_some_and(|n| n > 0)
            || has_any(&i.ipv6_addresses)
            || has_any(&i.ipv4_prefixes)
            || has_any(&i.ipv6_prefixes)
    });
    if beyond_first || special {
        let message = "An instance has one network interface with an address of its subnet's choice.";
        return Err(error("UnsupportedOperation", message));
    }
    if !interfaces.is_empty() && has_any(&data.security_group_ids) {
        let message =
            "Network interfaces and an instance-level security groups may not be specified on the same request";
        return Err(error("InvalidParameterCombination", message));
    }
    if let Some(kind) = &data.instance_type {
        super::instance::size(kind)?;
    }
    if let Some(encoded) = &data.user_data
        && crate::autoscaling::user_data::decode(encoded).is_none()
    {
        return Err(error("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."));
    }
    convert(&data)
}

fn has_any<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// A version's data with the members that `data` gives in place of its own.
fn over(source: ResponseLaunchTemplateData, data: ResponseLaunchTemplateData) -> Result<ResponseLaunchTemplateData> {
    let mut members = to_json(&source)?;
    if let (Some(members), serde_json::Value::Object(given)) = (members.as_object_mut(), to_json(&data)?) {
        members.extend(given);
    }
    from_json(members)
}

fn convert(data: &RequestLaunchTemplateData) -> Result<ResponseLaunchTemplateData> {
    from_json(to_json(data)?)
}

fn to_json(value: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|e| ServiceError::new("InternalError", e.to_string(), 500))
}

fn from_json(value: serde_json::Value) -> Result<ResponseLaunchTemplateData> {
    serde_json::from_value(value).map_err(|e| ServiceError::new("InternalError", e.to_string(), 500))
}
