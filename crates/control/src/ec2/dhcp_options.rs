//! DHCP options: the region's default set, which every VPC has.

use super::resource::{Resource, choose, page};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AttributeValue, DescribeDhcpOptionsRequest, DescribeDhcpOptionsResult, DhcpConfiguration, DhcpOptions, Tag,
};
use quarry_domain::arn::Place;
use quarry_wire::hash::sha256;
use serde::{Deserialize, Serialize};

/// The set as it is described and filtered; it is not kept.
#[derive(Clone, Serialize, Deserialize)]
struct OptionsView {
    options: DhcpOptions,
}

impl Item for OptionsView {
    const KIND: &'static str = "ec2.dhcp-options";
    fn key(&self) -> String {
        self.options.dhcp_options_id.clone().unwrap_or_default()
    }
}

impl Resource for OptionsView {
    const TYPE: &'static str = "dhcp-options";
    const NOUN: &'static str = "dhcpOption ID";
    const NOT_FOUND: &'static str = "InvalidDhcpOptionID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.options.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.options.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let configurations = self.options.dhcp_configurations.iter().flatten();
        Some(match name {
            "dhcp-options-id" => vec![self.key()],
            "owner-id" => self.options.owner_id.iter().cloned().collect(),
            "key" => configurations.filter_map(|c| c.key.clone()).collect(),
            "value" => configurations.flat_map(|c| c.values.iter().flatten()).filter_map(|v| v.value.clone()).collect(),
            _ => return None,
        })
    }
}

/// The id of the region's default set.
pub fn default_id(place: &Place) -> String {
    format!("dopt-{}", &sha256(place.region.as_bytes())[..17])
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeDhcpOptionsRequest) -> Result<DescribeDhcpOptionsResult> {
    let place = ctx.platform.place();
    let domain = match place.region.as_str() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    let one = |key: &str, value: &str| DhcpConfiguration {
        key: Some(key.into()),
        values: Some(vec![AttributeValue { value: Some(value.into()) }]),
    };
    let options = DhcpOptions {
        dhcp_configurations: Some(vec![one("domain-name", &domain), one("domain-name-servers", "AmazonProvidedDNS")]),
        dhcp_options_id: Some(default_id(place)),
        owner_id: Some(place.account.clone()),
        tags: Some(Vec::new()),
    };
    let found = choose(vec![OptionsView { options }], input.dhcp_options_ids, input.filters)?;
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let dhcp_options = Some(found.into_iter().map(|view| view.options).collect());
    Ok(DescribeDhcpOptionsResult { dhcp_options, next_token })
}
