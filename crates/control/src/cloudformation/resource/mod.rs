//! Resource types: how each is made, changed, read and deleted, always through the services' own operations.
//! One file per type (or per tight family of types); all are listed in [`find`].

pub mod alarm;
pub mod autoscaling_group;
pub mod autoscaling_hook;
pub mod autoscaling_policy;
pub mod autoscaling_scheduled;
pub mod call;
pub mod cdk_metadata;
pub mod certificate;
pub mod change;
pub mod ec2_address;
pub mod ec2_gateway;
pub mod ec2_launch_template;
pub mod ec2_nat_gateway;
pub mod ec2_route;
pub mod ec2_security_group;
pub mod ec2_subnet;
pub mod ec2_vpc;
pub mod ec2_vpc_endpoint;
pub mod ecr_repository;
pub mod ecs_capacity_provider;
pub mod ecs_cluster;
pub mod ecs_service;
pub mod ecs_task_definition;
pub mod elb_listener;
pub mod elb_load_balancer;
pub mod elb_target_group;
pub mod iam_group;
pub mod iam_holder;
pub mod iam_instance_profile;
pub mod iam_policy;
pub mod iam_role;
pub mod iam_service_linked_role;
pub mod iam_user;
pub mod launch_configuration;
pub mod log_group;
pub mod log_stream;
pub mod metric_filter;
pub mod scaling;
pub mod secret;
pub mod service_discovery;
pub mod ssm_parameter;
#[cfg(test)]
pub mod thing;
pub mod wait_condition;

#[cfg(test)]
mod tests;

use crate::api::{Ctx, Result};
use call::refused;
use iam_holder::Holder;
use quarry_wire::ServiceError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A resource type. Each call runs inside the transaction that records its result, so that it has
/// happened exactly once, or not at all.
pub trait ResourceType: Sync {
    /// For example `AWS::EC2::VPC`.
    fn name(&self) -> &'static str;
    /// The properties it takes. Others are refused.
    fn properties(&self) -> &'static [&'static str];
    /// Those that must be there.
    fn required(&self) -> &'static [&'static str] {
        &[]
    }
    /// What Fn::GetAtt knows of it.
    fn attributes(&self) -> &'static [&'static str] {
        &[]
    }
    /// For types of IAM, which need a capability: the property that names it, which leads to
    /// CAPABILITY_NAMED_IAM; empty where it has none.
    fn iam_name(&self) -> Option<&'static str> {
        None
    }
    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made>;
    /// Whether what was made is ready for those who need it. An error fails the creation.
    fn settled(&self, _ctx: &mut Ctx<'_>, _made: &Made) -> Result<Progress> {
        Ok(Progress::Done)
    }
    /// Waits for what was made, for `waited` so far, and completes `made` when it is ready. An error fails the
    /// creation, as does waiting for too long.
    fn settle(
        &self,
        ctx: &mut Ctx<'_>,
        made: &mut Made,
        _properties: &Map<String, Value>,
        waited: Duration,
    ) -> Result<Progress> {
        in_time(self.settled(ctx, made)?, waited)
    }
    /// The properties whose change [`update`](Self::update) carries out on what exists (AWS's
    /// documentation, "Update requires: No interruption" and "Some interruptions"). With `Tags` among
    /// them, a change of the stack's tags comes as an update too. A change of any other property makes
    /// a new resource and deletes the old one when all else is done.
    fn mutable(&self) -> &'static [&'static str] {
        &[]
    }
    /// Those of the [`mutable`](Self::mutable) whose change needs a new resource in some cases
    /// ("Update requires: Updates are not supported / Conditional"): [`replaces`](Self::replaces) decides.
    fn conditional(&self) -> &'static [&'static str] {
        &[]
    }
    /// Whether this change needs a new resource although all changed properties are mutable.
    fn replaces(&self, _old: &Wanted, _new: &Wanted) -> bool {
        false
    }
    /// The property that names it, where two of one name cannot be: with this property set and
    /// unchanged it cannot be replaced.
    fn name_property(&self) -> Option<&'static str> {
        self.iam_name()
    }
    /// Changes what exists from `old` to `new`, which differ in mutable properties (or in the stack's
    /// tags) only, and gives it as it is then; its physical id stays. Also called to go back.
    fn update(&self, _ctx: &mut Ctx<'_>, _made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        Err(refused(format!("Updates of {} in place are not supported", new.logical_id)))
    }
    /// How far an [`update`](Self::update) is that takes a while. Called until it is done, and again
    /// after a restart.
    fn updated(&self, ctx: &mut Ctx<'_>, made: &Made, _new: &Wanted, _ongoing: &mut Ongoing<'_>) -> Result<Progress> {
        self.settled(ctx, made)
    }
    /// Looks at what exists, for the detection of drift.
    fn read(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Seen> {
        match self.look(ctx, made, properties) {
            Ok(seen) if seen.is_empty() => Ok(Seen::Unreadable),
            Ok(seen) => {
                let like = |name: &str, value| properties.get(name).map_or(Value::clone(value), |d| alike(d, value));
                let seen = seen.iter().map(|(name, value)| (name.clone(), like(name, value)));
                Ok(Seen::Exists(seen.collect()))
            }
            Err(error) if is_absent(&error) => Ok(Seen::Gone),
            Err(error) => Err(error),
        }
    }
    /// Those of the properties that can be read back, in the template's form, as they are now. Properties
    /// left out are not compared. An error that [`is_absent`] says that it is gone.
    fn look(&self, _ctx: &mut Ctx<'_>, _made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(Map::new())
    }
    /// Deletes it, or looks how far its deletion is. Called until it is done, and again after a
    /// restart; something that is not there is deleted.
    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress>;
}

/// A resource that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub logical_id: String,
    pub stack_name: String,
    pub stack_id: String,
    /// With all functions carried out.
    pub properties: Map<String, Value>,
    /// Of the stack: key and value.
    pub stack_tags: Vec<(String, String)>,
    /// `<stack>-<logical id>-<13 capitals and digits>`, for types that are named.
    pub physical_name: String,
    /// The last part of it.
    pub suffix: String,
    /// The template's UpdatePolicy, with all functions carried out.
    pub update_policy: Option<Value>,
}

/// What an update that takes several steps knows between them.
pub struct Ongoing<'a> {
    /// Kept with the resource; empty at the first call.
    pub state: &'a mut Map<String, Value>,
    /// Signals received since the update began, by UniqueId: whether it reported success.
    pub signals: &'a BTreeMap<String, bool>,
    /// Since the update began, or since the process started after that.
    pub elapsed: Duration,
}

/// What exists of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The type cannot be read back; its drift is not checked.
    Unreadable,
    /// It was deleted behind the stack's back.
    Gone,
    /// Properties as they are now.
    Exists(Map<String, Value>),
}

/// A resource that was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    pub physical_id: String,
    /// What Ref gives, where it is not the physical id.
    pub reference: Option<String>,
    pub attributes: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    Waiting,
}

/// How long a resource may take to be ready, or to be gone, where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Gives up what is waited for longer than [`PATIENCE`].
pub fn in_time(progress: Progress, waited: Duration) -> Result<Progress> {
    match progress {
        Progress::Waiting if waited >= PATIENCE => Err(refused("Resource timed out waiting for completion")),
        progress => Ok(progress),
    }
}

/// What of a declaration there is no type for: an unknown type, or a form of one that is not offered, as far as
/// its properties say so before their functions are carried out.
pub fn unsupported(type_name: &str, declared: &Map<String, Value>) -> Option<String> {
    let Some(kind) = find(type_name) else { return Some(type_name.to_owned()) };
    let form = |name: &str, offered: &[&str]| {
        let value = declared.get(name)?.as_str()?;
        (!offered.contains(&value)).then(|| format!("{type_name} with {name} {value}"))
    };
    match kind.name() {
        "AWS::ElasticLoadBalancingV2::LoadBalancer" => form("Type", &["application"]),
        "AWS::ElasticLoadBalancingV2::Listener" | "AWS::ElasticLoadBalancingV2::TargetGroup" => {
            form("Protocol", &["HTTP", "HTTPS"])
        }
        _ => None,
    }
}

/// The resource type of this name.
pub fn find(name: &str) -> Option<&'static dyn ResourceType> {
    TYPES.iter().copied().find(|t| t.name() == name)
}

static TYPES: &[&dyn ResourceType] = &[
    &alarm::Alarm,
    &autoscaling_group::AutoScalingGroup,
    &autoscaling_hook::LifecycleHook,
    &autoscaling_policy::ScalingPolicy,
    &autoscaling_scheduled::ScheduledAction,
    &launch_configuration::LaunchConfiguration,
    &cdk_metadata::Metadata,
    &certificate::Certificate,
    &ec2_address::Address,
    &ec2_gateway::InternetGateway,
    &ec2_gateway::Attachment,
    &ec2_launch_template::LaunchTemplate,
    &ec2_nat_gateway::NatGateway,
    &ec2_route::RouteTable,
    &ec2_route::Route,
    &ec2_route::Association,
    &ec2_security_group::SecurityGroup,
    &ec2_security_group::Ingress,
    &ec2_security_group::Egress,
    &ec2_subnet::Subnet,
    &ec2_vpc::Vpc,
    &ec2_vpc_endpoint::Endpoint,
    &ecr_repository::Repository,
    &ecs_capacity_provider::Associations,
    &ecs_capacity_provider::CapacityProvider,
    &ecs_cluster::Cluster,
    &ecs_service::Service,
    &ecs_task_definition::TaskDefinition,
    &elb_listener::Listener,
    &elb_listener::ListenerRule,
    &elb_listener::ListenerCertificate,
    &elb_load_balancer::LoadBalancer,
    &elb_target_group::TargetGroup,
    &iam_group::Group,
    &iam_group::UserToGroupAddition,
    &iam_instance_profile::InstanceProfile,
    &iam_policy::ManagedPolicy,
    &iam_policy::Policy,
    &iam_policy::InlinePolicy(Holder::Group),
    &iam_policy::InlinePolicy(Holder::Role),
    &iam_policy::InlinePolicy(Holder::User),
    &iam_role::Role,
    &iam_service_linked_role::ServiceLinkedRole,
    &iam_user::AccessKey,
    &iam_user::User,
    &log_group::LogGroup,
    &log_stream::LogStream,
    &metric_filter::MetricFilter,
    &scaling::ScalableTarget,
    &scaling::ScalingPolicy,
    &secret::ResourcePolicy,
    &secret::Secret,
    &service_discovery::HttpNamespace,
    &service_discovery::Instance,
    &service_discovery::PrivateDnsNamespace,
    &service_discovery::Service,
    &ssm_parameter::Parameter,
    &wait_condition::WaitCondition,
    &wait_condition::WaitConditionHandle,
    #[cfg(test)]
    &thing::Thing,
];

/// Checks the properties against what the type takes.
pub fn check_properties(kind: &dyn ResourceType, properties: &Map<String, Value>) -> Result<()> {
    if let Some(name) = properties.keys().find(|name| !kind.properties().contains(&name.as_str())) {
        return Err(refused(format!("Encountered unsupported property {name}")));
    }
    match kind.required().iter().find(|name| !properties.contains_key(**name)) {
        Some(name) => Err(refused(format!("Property {name} cannot be empty."))),
        None => Ok(()),
    }
}

impl Wanted {
    /// Those of the named properties that are there.
    pub fn pick(&self, names: &[&str]) -> Map<String, Value> {
        let named = names.iter().filter_map(|name| Some(((*name).to_owned(), self.properties.get(*name)?.clone())));
        named.collect()
    }

    /// All properties but the named ones.
    pub fn without(&self, names: &[&str]) -> Map<String, Value> {
        self.properties
            .iter()
            .filter(|(n, _)| !names.contains(&n.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// A property as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.properties.get(name).and_then(super::template::text_of)
    }

    /// A property as text that must be there.
    pub fn needed(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| refused(format!("Property {name} cannot be empty.")))
    }

    /// The name given by a property, or the generated one cut to the service's longest.
    pub fn name(&self, property: &str, longest: usize) -> String {
        self.text(property).unwrap_or_else(|| self.generated(longest))
    }

    /// A generated name of at most so many characters; its random end stays whole.
    pub fn generated(&self, longest: usize) -> String {
        if self.physical_name.len() <= longest {
            return self.physical_name.clone();
        }
        let head = &self.physical_name[..longest - self.suffix.len() - 1];
        format!("{}-{}", head.trim_end_matches('-'), self.suffix)
    }

    /// The tags of the resource: its own, the stack's, and where it comes from.
    pub fn tags(&self) -> Vec<Value> {
        let mut tags = change::own_tags(&self.properties, &self.stack_tags);
        for (key, value) in [
            ("aws:cloudformation:stack-name", &self.stack_name),
            ("aws:cloudformation:stack-id", &self.stack_id),
            ("aws:cloudformation:logical-id", &self.logical_id),
        ] {
            tags.push(json!({"Key": key, "Value": value}));
        }
        tags
    }

    /// The tags without those of CloudFormation, for services that keep the prefix `aws:` to themselves.
    pub fn own_tags(&self) -> Vec<Value> {
        change::own_tags(&self.properties, &self.stack_tags)
    }

    /// What becomes of the own tags of a resource when `self` comes after `old`: the tags to set, and the
    /// keys to remove.
    pub fn tag_changes(&self, old: &Self) -> (Vec<Value>, Vec<String>) {
        let (before, after) = (old.own_tags(), self.own_tags());
        let set = after.iter().filter(|tag| !before.contains(tag)).cloned().collect();
        let kept = |key: &Value| after.iter().any(|tag| tag["Key"] == *key);
        let keys = before.iter().map(|tag| &tag["Key"]).filter(|key| !kept(key));
        (set, keys.filter_map(|key| key.as_str().map(str::to_owned)).collect())
    }

    /// Whether a property is another than in `old`.
    pub fn differs(&self, old: &Self, property: &str) -> bool {
        self.properties.get(property) != old.properties.get(property)
    }

    /// The tags as EC2's create operations take them.
    pub fn tag_specifications(&self, resource_type: &str) -> Value {
        json!([{"ResourceType": resource_type, "Tags": self.tags()}])
    }
}

impl Made {
    pub fn new(physical_id: impl Into<String>) -> Self {
        Self { physical_id: physical_id.into(), ..Self::default() }
    }

    /// Adds an attribute for Fn::GetAtt.
    pub fn with(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(attribute.to_owned(), value.into());
        self
    }

    /// Sets what Ref gives, where it is not the physical id.
    pub fn referred_to_as(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }
}

/// Those of an answer's members that have a value, by the given names. Letters may be of either case.
pub fn members(answer: &Value, names: &[&str]) -> Map<String, Value> {
    let found = |name: &str| {
        let mut all = answer.as_object().into_iter().flatten();
        all.find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    names.iter().filter_map(|name| Some(((*name).to_owned(), found(name).filter(|v| !v.is_null())?))).collect()
}

/// What is seen in the form of what was declared: letters of names in its case, scalars as it writes them, tags in
/// its order. Members that it does not name are left out, for they have defaults; so are tags.
fn alike(declared: &Value, seen: &Value) -> Value {
    match (declared, seen) {
        (Value::Object(declared), Value::Object(members)) => {
            let find = |name: &str| members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name));
            let both = declared.iter().filter_map(|(name, value)| Some((name.clone(), alike(value, find(name)?.1))));
            Value::Object(both.collect())
        }
        (Value::Array(declared), Value::Array(items)) => {
            let key = |item: &Value| members(item, &["Key"]).remove("Key");
            let keyed = declared.iter().all(|item| key(item).is_some());
            if keyed && !declared.is_empty() {
                let same = |item: &Value| items.iter().find(|other| key(other) == key(item));
                return declared.iter().filter_map(|item| Some(alike(item, same(item)?))).collect();
            }
            let like =
                |(i, item)| declared.get(i).or(declared.first()).map_or_else(|| Value::clone(item), |d| alike(d, item));
            items.iter().enumerate().map(like).collect()
        }
        _ if super::template::text_of(declared).is_some_and(|text| Some(text) == super::template::text_of(seen)) => {
            declared.clone()
        }
        // 1 and 1.0 are one number.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => declared.clone(),
        _ => seen.clone(),
    }
}

/// A policy document, which templates write as a map, as the text that services take.
pub fn document(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Says that a resource is gone, see [`is_absent`].
pub fn absent(message: &str) -> ServiceError {
    ServiceError::new("NotFound", message, 404)
}

/// The end of a deletion: done, also if there was nothing to delete.
pub fn deleted<T>(result: Result<T>) -> Result<Progress> {
    match result {
        Ok(_) => Ok(Progress::Done),
        Err(error) if is_absent(&error) => Ok(Progress::Done),
        Err(error) => Err(error),
    }
}

/// Whether a service says that it has no such thing.
pub fn is_absent(error: &ServiceError) -> bool {
    let code = error.code.as_str();
    code.contains("NotFound")
        || code == "NoSuchEntity"
        || (code == "ValidationError" && error.message.contains("not found"))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn generated_names_keep_their_end() {
        let wanted = Wanted {
            logical_id: "LoadBalancer".into(),
            stack_name: "a-stack-with-a-rather-long-name".into(),
            stack_id: String::new(),
            properties: Map::new(),
            stack_tags: Vec::new(),
            physical_name: "a-stack-with-a-rather-long-name-LoadBalancer-ABCDEFGHIJKLM".into(),
            suffix: "ABCDEFGHIJKLM".into(),
            update_policy: None,
        };
        assert_eq!(wanted.generated(32), "a-stack-with-a-rat-ABCDEFGHIJKLM");
        assert_eq!(wanted.generated(255), wanted.physical_name);
    }

    #[test]
    fn types_are_listed_once() {
        for (i, kind) in TYPES.iter().enumerate() {
            assert!(TYPES[i + 1..].iter().all(|other| other.name() != kind.name()), "{}", kind.name());
            let named = [kind.required(), kind.mutable(), kind.conditional()].into_iter().flatten();
            let named = named.copied().chain(kind.name_property()).collect::<Vec<_>>();
            assert!(named.iter().all(|name| kind.properties().contains(name)), "{}: {named:?}", kind.name());
            assert!(kind.conditional().iter().all(|name| kind.mutable().contains(name)), "{}", kind.name());
        }
    }
}
