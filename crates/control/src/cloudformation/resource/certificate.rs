//! Certificates of AWS Certificate Manager.

use super::call::{call, refused, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::acm::op;
use serde_json::{Map, Value, json};

/// `AWS::CertificateManager::Certificate`.
pub struct Certificate;

impl ResourceType for Certificate {
    fn name(&self) -> &'static str {
        "AWS::CertificateManager::Certificate"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "CertificateTransparencyLoggingPreference",
            "DomainName",
            "DomainValidationOptions",
            "KeyAlgorithm",
            "SubjectAlternativeNames",
            "Tags",
            "ValidationMethod",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["DomainName"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["CertificateTransparencyLoggingPreference", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["DomainName", "KeyAlgorithm", "SubjectAlternativeNames", "ValidationMethod"]);
        if let Some(Value::Array(options)) = wanted.properties.get("DomainValidationOptions") {
            // A hosted zone is where CloudFormation writes the record of the validation by itself.
            if options.iter().any(|option| option.get("HostedZoneId").is_some()) {
                return Err(refused("Encountered unsupported property HostedZoneId: there are no hosted zones here"));
            }
            input.insert("DomainValidationOptions".into(), options.clone().into());
        }
        if let Some(preference) = wanted.properties.get("CertificateTransparencyLoggingPreference") {
            input.insert("Options".into(), json!({"CertificateTransparencyLoggingPreference": preference}));
        }
        let tags = wanted.own_tags();
        if !tags.is_empty() {
            input.insert("Tags".into(), tags.into());
        }
        let output = call::<op::RequestCertificate>(ctx, input.into())?;
        Ok(Made::new(text(&output, "/CertificateArn")?))
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let output = call::<op::DescribeCertificate>(ctx, json!({"CertificateArn": made.physical_id}))?;
        match output["Certificate"]["Status"].as_str() {
            Some("ISSUED") => Ok(Progress::Done),
            Some("PENDING_VALIDATION") => Ok(Progress::Waiting),
            other => Err(refused(format!("The certificate is {}", other.unwrap_or("not there")))),
        }
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let arn = &made.physical_id;
        if let Some(preference) = change.value("CertificateTransparencyLoggingPreference", "ENABLED") {
            let options = json!({"CertificateTransparencyLoggingPreference": preference});
            call::<op::UpdateCertificateOptions>(ctx, json!({"CertificateArn": arn, "Options": options}))?;
        }
        if let Some(tags) = change.tags() {
            if !tags.gone.is_empty() {
                let gone: Vec<Value> = tags.gone.iter().map(|key| json!({"Key": key})).collect();
                call::<op::RemoveTagsFromCertificate>(ctx, json!({"CertificateArn": arn, "Tags": gone}))?;
            }
            if !tags.set.is_empty() {
                call::<op::AddTagsToCertificate>(ctx, json!({"CertificateArn": arn, "Tags": tags.set}))?;
            }
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeCertificate>(ctx, json!({"CertificateArn": made.physical_id}))?;
        Ok(members(&output["Certificate"], &["DomainName", "KeyAlgorithm"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteCertificate>(ctx, json!({"CertificateArn": made.physical_id})))
    }
}
