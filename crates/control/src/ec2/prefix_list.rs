//! The prefix lists that AWS manages: those of the services that have gateway endpoints. Their
//! blocks are not routed here.

use super::resource::{Resource, choose, error, page};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    DescribeManagedPrefixListsRequest, DescribeManagedPrefixListsResult, DescribePrefixListsRequest,
    DescribePrefixListsResult, ManagedPrefixList, PrefixList, Tag,
};
use quarry_domain::arn::Place;
use quarry_wire::hash::sha256;
use serde::{Deserialize, Serialize};

/// A prefix list as it is described and filtered; none is kept.
#[derive(Clone, Serialize, Deserialize)]
struct ListView {
    list: ManagedPrefixList,
}

impl Item for ListView {
    const KIND: &'static str = "ec2.prefix-list";
    fn key(&self) -> String {
        self.list.prefix_list_id.clone().unwrap_or_default()
    }
}

impl Resource for ListView {
    const TYPE: &'static str = "prefix-list";
    const NOUN: &'static str = "prefix list ID";
    const NOT_FOUND: &'static str = "InvalidPrefixListID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.list.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.list.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        Some(match name {
            "prefix-list-id" => vec![self.key()],
            "prefix-list-name" => one(&self.list.prefix_list_name),
            "owner-id" => one(&self.list.owner_id),
            _ => return None,
        })
    }
}

/// The id of the list of a gateway endpoint's service, such as `com.amazonaws.us-east-1.s3`.
pub fn id_of(service_name: &str) -> String {
    format!("pl-{}", &sha256(service_name.as_bytes())[..8])
}

/// Refuses an id that no list has.
pub fn check(ctx: &Ctx<'_>, id: &str) -> Result<()> {
    let known = lists(ctx.platform.place()).iter().any(|view| view.key() == id);
    if known {
        Ok(())
    } else {
        Err(error(ListView::NOT_FOUND, format!("The {} '{id}' does not exist", ListView::NOUN)))
    }
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribePrefixListsRequest) -> Result<DescribePrefixListsResult> {
    let lists = choose(lists(ctx.platform.place()), input.prefix_list_ids, input.filters)?;
    let (lists, next_token) = page(lists, input.max_results, input.next_token)?;
    let shown = |view: ListView| PrefixList {
        cidrs: Some(Vec::new()),
        prefix_list_id: view.list.prefix_list_id,
        prefix_list_name: view.list.prefix_list_name,
    };
    Ok(DescribePrefixListsResult { prefix_lists: Some(lists.into_iter().map(shown).collect()), next_token })
}

pub fn describe_managed(
    ctx: &mut Ctx<'_>,
    input: DescribeManagedPrefixListsRequest,
) -> Result<DescribeManagedPrefixListsResult> {
    let lists = choose(lists(ctx.platform.place()), input.prefix_list_ids, input.filters)?;
    let (lists, next_token) = page(lists, input.max_results, input.next_token)?;
    let prefix_lists = Some(lists.into_iter().map(|view| view.list).collect());
    Ok(DescribeManagedPrefixListsResult { prefix_lists, next_token })
}

fn lists(place: &Place) -> Vec<ListView> {
    let list = |service: &str| {
        let name = format!("com.amazonaws.{}.{service}", place.region);
        let id = id_of(&name);
        let arn = format!("arn:aws:ec2:{}:aws:prefix-list/{id}", place.region);
        ListView {
            list: ManagedPrefixList {
                address_family: Some("IPv4".into()),
                owner_id: Some("AWS".into()),
                prefix_list_arn: Some(arn),
                prefix_list_id: Some(id),
                prefix_list_name: Some(name),
                state: Some("create-complete".into()),
                tags: Some(Vec::new()),
                ..Default::default()
            },
        }
    };
    super::vpc_endpoint::GATEWAY_SERVICES.map(list).into()
}
