//! Where AWS's services are: their endpoints by region (AWS General Reference, "Service endpoints and quotas"), and
//! those that settings name in their stead (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_wire::ServiceModel;

use crate::http::{Endpoint, InvalidEndpoint, Transport};

/// The endpoints of one region.
#[derive(Clone, Debug)]
pub(crate) struct Regional {
    transport: Transport,
    region: String,
    instead: Instead,
    timeout: Option<Duration>,
}

/// Endpoints that are used instead of AWS's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instead {
    /// For every service without one of its own.
    pub all: Option<String>,
    /// By the service's name in settings, `elastic_load_balancing_v2`.
    pub one: BTreeMap<String, String>,
}

/// The name of a region is none, or belongs to a part of AWS whose endpoints are not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no region of AWS whose endpoints are known here: name them with AWS_ENDPOINT_URL")]
pub struct UnknownRegion(pub String);

impl Regional {
    pub fn new(transport: Transport, region: &str, instead: Instead) -> Self {
        Self { transport, region: region.to_owned(), instead, timeout: None }
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// A service's endpoint, and the region that calls to it are signed for.
    pub fn of(&self, service: &ServiceModel) -> Result<(Endpoint, String), InvalidEndpoint> {
        let (url, region) = match self.instead.of(service) {
            Some(url) => (url.to_owned(), self.region.clone()),
            None => {
                let (host, region) = host(service, &self.region)
                    .map_err(|error| InvalidEndpoint { endpoint: self.region.clone(), reason: error.to_string() })?;
                (format!("https://{host}"), region)
            }
        };
        let mut endpoint = self.transport.endpoint(&url)?;
        if let Some(timeout) = self.timeout {
            endpoint.set_timeout(timeout);
        }
        Ok((endpoint, region))
    }
}

impl Instead {
    fn of(&self, service: &ServiceModel) -> Option<&str> {
        self.one.get(&setting_name(service)).or(self.all.as_ref()).map(String::as_str)
    }
}

/// As a service is called in `AWS_ENDPOINT_URL_<SERVICE>` (in capitals) and in the section `services` of the
/// configuration file: `elastic_load_balancing_v2`.
pub(crate) fn setting_name(service: &ServiceModel) -> String {
    service.sdk_id.to_ascii_lowercase().replace([' ', '-'], "_")
}

/// A service's host in a region, and the region that is signed for.
fn host(service: &ServiceModel, region: &str) -> Result<(String, String), UnknownRegion> {
    let suffix = suffix(region)?;
    if service.id == "iam" {
        // One for each partition.
        return Ok(match region.split('-').next() {
            Some("cn") => ("iam.cn-north-1.amazonaws.com.cn".into(), "cn-north-1".into()),
            Some("us") if region.starts_with("us-gov-") => ("iam.us-gov.amazonaws.com".into(), "us-gov-west-1".into()),
            _ => ("iam.amazonaws.com".into(), "us-east-1".into()),
        });
    }
    Ok((format!("{}.{region}.{suffix}", service.endpoint_prefix), region.to_owned()))
}

/// What the names of a region's hosts end with. A name that is no region never becomes part of one.
fn suffix(region: &str) -> Result<&'static str, UnknownRegion> {
    let unknown = || UnknownRegion(region.to_owned());
    let parts: Vec<&str> = region.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
    let Some((number, words)) = parts.split_last() else { return Err(unknown()) };
    let numbered = !number.is_empty() && number.len() <= 2 && number.chars().all(|c| c.is_ascii_digit());
    match words {
        ["us", "gov", place] if numbered && letters(place) => Ok("amazonaws.com"),
        ["cn", place] if numbered && letters(place) => Ok("amazonaws.com.cn"),
        ["us" | "eu" | "ap" | "sa" | "ca" | "me" | "af" | "il" | "mx", place] if numbered && letters(place) => {
            Ok("amazonaws.com")
        }
        _ => Err(unknown()),
    }
}

/// Whether this is the name of a region whose endpoints are known.
pub(crate) fn check(region: &str) -> Result<(), UnknownRegion> {
    suffix(region).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_aws::{cloudformation, ecr, ecs, elbv2, iam, logs, ssm, sts};

    /// What botocore 1.43 makes of the same services and regions.
    #[test]
    fn hosts_are_aws_own() {
        for (service, region, wanted) in [
            (&ecs::SERVICE, "us-east-1", ("ecs.us-east-1.amazonaws.com", "us-east-1")),
            (&ecs::SERVICE, "ap-southeast-2", ("ecs.ap-southeast-2.amazonaws.com", "ap-southeast-2")),
            (&ecr::SERVICE, "eu-west-1", ("api.ecr.eu-west-1.amazonaws.com", "eu-west-1")),
            (&ecr::SERVICE, "cn-north-1", ("api.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1")),
            (&elbv2::SERVICE, "us-gov-west-1", ("elasticloadbalancing.us-gov-west-1.amazonaws.com", "us-gov-west-1")),
            (&cloudformation::SERVICE, "eu-west-1", ("cloudformation.eu-west-1.amazonaws.com", "eu-west-1")),
            (&logs::SERVICE, "eu-central-2", ("logs.eu-central-2.amazonaws.com", "eu-central-2")),
            (&ssm::SERVICE, "mx-central-1", ("ssm.mx-central-1.amazonaws.com", "mx-central-1")),
            (&sts::SERVICE, "us-east-1", ("sts.us-east-1.amazonaws.com", "us-east-1")),
            (&iam::SERVICE, "eu-west-1", ("iam.amazonaws.com", "us-east-1")),
            (&iam::SERVICE, "cn-northwest-1", ("iam.cn-north-1.amazonaws.com.cn", "cn-north-1")),
            (&iam::SERVICE, "us-gov-east-1", ("iam.us-gov.amazonaws.com", "us-gov-west-1")),
        ] {
            let found = host(service, region).unwrap();
            assert_eq!((found.0.as_str(), found.1.as_str()), wanted);
        }
        for region in
            ["", "us", "us-east", "us-east-1.evil.example", "us-iso-east-1", "us-east-1/", "US-EAST-1", "x-y-1"]
        {
            assert_eq!(host(&ecs::SERVICE, region), Err(UnknownRegion(region.into())), "{region}");
        }
    }

    #[test]
    fn a_services_own_endpoint_goes_before_the_one_for_all() {
        let one = BTreeMap::from([("elastic_load_balancing_v2".to_owned(), "http://127.0.0.1:2".to_owned())]);
        let instead = Instead { all: Some("http://127.0.0.1:1".into()), one };
        assert_eq!(instead.of(&elbv2::SERVICE), Some("http://127.0.0.1:2"));
        assert_eq!(instead.of(&logs::SERVICE), Some("http://127.0.0.1:1"));
        assert_eq!(setting_name(&logs::SERVICE), "cloudwatch_logs");
    }
}
