//! Network ACLs: each VPC's default one, which allows everything.

use super::resource::{error, page};
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    DescribeNetworkAclsRequest, DescribeNetworkAclsResult, NetworkAcl, NetworkAclAssociation, NetworkAclEntry,
};

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeNetworkAclsRequest) -> Result<DescribeNetworkAclsResult> {
    let ids = input.network_acl_ids.unwrap_or_default();
    let mut shown = Vec::new();
    for vpc in ctx.tx.all::<VpcRecord>()? {
        if !ids.is_empty() && !ids.contains(&vpc.network_acl) {
            continue;
        }
        let acl = default_of(ctx, &vpc)?;
        let mut passes = true;
        for filter in input.filters.iter().flatten() {
            let values: Vec<String> = match filter.name.as_deref().unwrap_or_default() {
                "vpc-id" => vec![vpc.key()],
                "network-acl-id" => vec![vpc.network_acl.clone()],
                "default" => vec!["true".into()],
                "association.subnet-id" => {
                    acl.associations.iter().flatten().filter_map(|a| a.subnet_id.clone()).collect()
                }
                other => return Err(error("InvalidParameterValue", format!("The filter '{other}' is invalid"))),
            };
            passes &= filter.values.iter().flatten().any(|wanted| values.contains(wanted));
        }
        if passes {
            shown.push(acl);
        }
    }
    for id in &ids {
        if !shown.iter().any(|acl| acl.network_acl_id.as_ref() == Some(id)) {
            return Err(error("InvalidNetworkAclID.NotFound", format!("The networkAcl ID '{id}' does not exist")));
        }
    }
    let (network_acls, next_token) = page(shown, input.max_results, input.next_token)?;
    Ok(DescribeNetworkAclsResult { network_acls: Some(network_acls), next_token })
}

fn default_of(ctx: &Ctx<'_>, vpc: &VpcRecord) -> Result<NetworkAcl> {
    let associations = ctx.tx.children::<SubnetRecord>(&vpc.key())?.into_iter().map(|subnet| {
        let id = subnet.key();
        NetworkAclAssociation {
            network_acl_association_id: Some(id.replacen("subnet-", "aclassoc-", 1)),
            network_acl_id: Some(vpc.network_acl.clone()),
            subnet_id: Some(id),
        }
    });
    let entry = |egress, number, action: &str| NetworkAclEntry {
        cidr_block: Some("0.0.0.0/0".into()),
        egress: Some(egress),
        protocol: Some("-1".into()),
        rule_action: Some(action.into()),
        rule_number: Some(number),
        ..Default::default()
    };
    Ok(NetworkAcl {
        network_acl_id: Some(vpc.network_acl.clone()),
        vpc_id: vpc.vpc.vpc_id.clone(),
        is_default: Some(true),
        owner_id: vpc.vpc.owner_id.clone(),
        associations: Some(associations.collect()),
        entries: Some(vec![
            entry(true, 100, "allow"),
            entry(true, 32767, "deny"),
            entry(false, 100, "allow"),
            entry(false, 32767, "deny"),
        ]),
        tags: Some(Vec::new()),
    })
}
