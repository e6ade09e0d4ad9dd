//! Listeners and their rules.

use super::call::{call, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::op;
use serde_json::{Map, Value, json};

/// `AWS::ElasticLoadBalancingV2::Listener`.
pub struct Listener;

impl ResourceType for Listener {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::Listener"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AlpnPolicy",
            "Certificates",
            "DefaultActions",
            "ListenerAttributes",
            "LoadBalancerArn",
            "MutualAuthentication",
            "Port",
            "Protocol",
            "SslPolicy",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["DefaultActions", "LoadBalancerArn"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["ListenerArn"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "AlpnPolicy",
            "Certificates",
            "DefaultActions",
            "ListenerAttributes",
            "MutualAuthentication",
            "Port",
            "Protocol",
            "SslPolicy",
        ]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateListener>(ctx, wanted.without(&["ListenerAttributes"]).into())?;
        let arn = text(&output, "/Listeners/0/ListenerArn")?;
        if let Some(attributes) = wanted.properties.get("ListenerAttributes") {
            call::<op::ModifyListenerAttributes>(ctx, json!({"ListenerArn": arn, "Attributes": attributes}))?;
        }
        Ok(Made::new(&arn).with("ListenerArn", arn))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut input = change.values(&[
            ("AlpnPolicy", json!([])),
            ("Certificates", json!([])),
            ("MutualAuthentication", json!({"Mode": "off"})),
        ]);
        for name in ["DefaultActions", "Port", "Protocol"] {
            if let Some(value) = change.kept(name)? {
                input.insert(name.into(), value);
            }
        }
        // A listener that leaves HTTPS leaves its policy, too; one that stays keeps what is not named.
        if change.differs("SslPolicy") {
            input.extend(new.pick(&["SslPolicy"]));
        }
        if !input.is_empty() {
            input.insert("ListenerArn".into(), made.physical_id.clone().into());
            call::<op::ModifyListener>(ctx, input.into())?;
        }
        let attributes = change.attributes("ListenerAttributes", DEFAULTS)?;
        if !attributes.is_empty() {
            let input = json!({"ListenerArn": made.physical_id, "Attributes": attributes});
            call::<op::ModifyListenerAttributes>(ctx, input)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeListeners>(ctx, json!({"ListenerArns": [made.physical_id]}))?;
        Ok(super::members(&output["Listeners"][0], self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteListener>(ctx, json!({"ListenerArn": made.physical_id})))
    }
}

/// What attributes are that nobody set. An empty header name brings the default back.
const DEFAULTS: &[(&str, &str)] = &[
    ("routing.http.request.x_amzn_tls_cipher_suite.header_name", ""),
    ("routing.http.request.x_amzn_tls_version.header_name", ""),
    ("routing.http.response.access_control_allow_credentials.header_value", ""),
    ("routing.http.response.access_control_allow_headers.header_value", ""),
    ("routing.http.response.access_control_allow_methods.header_value", ""),
    ("routing.http.response.access_control_allow_origin.header_value", ""),
    ("routing.http.response.access_control_expose_headers.header_value", ""),
    ("routing.http.response.access_control_max_age.header_value", ""),
    ("routing.http.response.content_security_policy.header_value", ""),
    ("routing.http.response.server.enabled", "true"),
    ("routing.http.response.strict_transport_security.header_value", ""),
    ("routing.http.response.x_content_type_options.header_value", ""),
    ("routing.http.response.x_frame_options.header_value", ""),
];

/// `AWS::ElasticLoadBalancingV2::ListenerRule`.
pub struct ListenerRule;

impl ResourceType for ListenerRule {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::ListenerRule"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Actions", "Conditions", "ListenerArn", "Priority"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Actions", "Conditions", "Priority", "ListenerArn"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["RuleArn", "IsDefault"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Actions", "Conditions", "Priority"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateRule>(ctx, Value::Object(wanted.properties.clone()))?;
        let arn = text(&output, "/Rules/0/RuleArn")?;
        Ok(Made::new(&arn).with("RuleArn", arn).with("IsDefault", false))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let arn = &made.physical_id;
        if change.any(&["Actions", "Conditions"]) {
            let mut input = new.pick(&["Actions", "Conditions"]);
            input.insert("RuleArn".into(), arn.clone().into());
            call::<op::ModifyRule>(ctx, input.into())?;
        }
        if let Some(priority) = change.kept("Priority")? {
            let input = json!({"RulePriorities": [{"RuleArn": arn, "Priority": priority}]});
            call::<op::SetRulePriorities>(ctx, input)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeRules>(ctx, json!({"RuleArns": [made.physical_id]}))?;
        Ok(super::members(&output["Rules"][0], &["Actions", "Conditions", "Priority"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteRule>(ctx, json!({"RuleArn": made.physical_id})))
    }
}

/// `AWS::ElasticLoadBalancingV2::ListenerCertificate`: certificates besides the default one.
pub struct ListenerCertificate;

impl ResourceType for ListenerCertificate {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::ListenerCertificate"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Certificates", "ListenerArn"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Certificates", "ListenerArn"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Certificates"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        call::<op::AddListenerCertificates>(ctx, Value::Object(wanted.properties.clone()))?;
        let id = wanted.generated(128);
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let (came, went) = Change { made, old, new }.list("Certificates");
        let listener = new.needed("ListenerArn")?;
        if !came.is_empty() {
            call::<op::AddListenerCertificates>(ctx, json!({"ListenerArn": listener, "Certificates": came}))?;
        }
        if !went.is_empty() {
            call::<op::RemoveListenerCertificates>(ctx, json!({"ListenerArn": listener, "Certificates": went}))?;
        }
        Ok(made.clone())
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::RemoveListenerCertificates>(ctx, Value::Object(properties.clone())))
    }
}
