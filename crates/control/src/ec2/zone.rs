//! Availability zones: the region has three.

use super::resource::{error, page};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::{
    AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult, DescribeRegionsRequest,
    DescribeRegionsResult, Filter, Region,
};
use quarry_domain::arn::Place;

/// Name and id of each zone.
fn zones(place: &Place) -> impl Iterator<Item = (String, String)> {
    place.zones().into_iter().zip(1..).map(|(name, n)| {
        // AWS's ids shorten the region: us-east-1 → use1.
        let short: String =
            place.region.split('-').enumerate().map(|(i, w)| if i == 0 { w } else { &w[..1] }).collect();
        (name, format!("{short}-az{n}"))
    })
}

/// A zone by its name or id; the first one if none is named.
pub fn find(place: &Place, wanted: Option<&str>) -> Result<(String, String)> {
    let mut all = zones(place);
    let found = match wanted {
        None => all.next(),
        Some(wanted) => all.find(|(name, id)| name == wanted || id == wanted),
    };
    found.ok_or_else(|| {
        let wanted = wanted.unwrap_or_default();
        error("InvalidParameterValue", format!("Value ({wanted}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.", place.zones().join(", ")))
    })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeAvailabilityZonesRequest) -> Result<DescribeAvailabilityZonesResult> {
    let place = ctx.platform.place();
    let names = input.zone_names.unwrap_or_default();
    let ids = input.zone_ids.unwrap_or_default();
    for name in &names {
        find(place, Some(name))
            .map_err(|_| error("InvalidParameterValue", format!("Invalid availability zone: [{name}]")))?;
    }
    let mut shown = Vec::new();
    for (name, id) in zones(place) {
        let listed = (names.is_empty() || names.contains(&name)) && (ids.is_empty() || ids.contains(&id));
        if listed && passes(place, &name, &id, input.filters.as_deref().unwrap_or_default())? {
            shown.push(AvailabilityZone {
                zone_name: Some(name),
                zone_id: Some(id),
                region_name: Some(place.region.clone()),
                group_name: Some(format!("{}-zg-1", place.region)),
                network_border_group: Some(place.region.clone()),
                opt_in_status: Some("opt-in-not-required".into()),
                state: Some("available".into()),
                zone_type: Some("availability-zone".into()),
                ..Default::default()
            });
        }
    }
    let (availability_zones, _) = page(shown, None, None)?;
    Ok(DescribeAvailabilityZonesResult { availability_zones: Some(availability_zones) })
}

fn passes(place: &Place, name: &str, id: &str, filters: &[Filter]) -> Result<bool> {
    for filter in filters {
        let value = match filter.name.as_deref().unwrap_or_default() {
            "zone-name" => name,
            "zone-id" => id,
            "region-name" => &place.region,
            "state" => "available",
            "opt-in-status" => "opt-in-not-required",
            "zone-type" => "availability-zone",
            other => return Err(error("InvalidParameterValue", format!("The filter '{other}' is invalid"))),
        };
        if !filter.values.iter().flatten().any(|v| v == value) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The one region that there is.
pub fn describe_regions(ctx: &mut Ctx<'_>, input: DescribeRegionsRequest) -> Result<DescribeRegionsResult> {
    let own = &ctx.platform.place().region;
    if let Some(other) = input.region_names.iter().flatten().find(|name| *name != own) {
        return Err(error("InvalidParameterValue", format!("Invalid region names: [{other}]")));
    }
    let region = Region {
        region_name: Some(own.clone()),
        endpoint: Some(format!("ec2.{own}.amazonaws.com")),
        opt_in_status: Some("opt-in-not-required".into()),
        ..Default::default()
    };
    let mut passes = true;
    for filter in input.filters.iter().flatten() {
        let value = match filter.name.as_deref().unwrap_or_default() {
            "region-name" => &region.region_name,
            "endpoint" => &region.endpoint,
            "opt-in-status" => &region.opt_in_status,
            other => return Err(error("InvalidParameterValue", format!("The filter '{other}' is invalid"))),
        };
        passes &= filter.values.iter().flatten().any(|wanted| Some(wanted) == value.as_ref());
    }
    Ok(DescribeRegionsResult { regions: Some(passes.then_some(region).into_iter().collect()) })
}
