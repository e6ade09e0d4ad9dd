//! Key pairs: there are none, as no instance can be logged in to.

use super::resource::error;
use crate::api::{Ctx, Result};
use quarry_aws::ec2::{DescribeKeyPairsRequest, DescribeKeyPairsResult};

pub fn describe(_ctx: &mut Ctx<'_>, input: DescribeKeyPairsRequest) -> Result<DescribeKeyPairsResult> {
    if let Some(name) = input.key_names.iter().flatten().next() {
        return Err(error("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist")));
    }
    if let Some(id) = input.key_pair_ids.iter().flatten().next() {
        return Err(error("InvalidKeyPair.NotFound", format!("The key pair '{id}' does not exist")));
    }
    Ok(DescribeKeyPairsResult { key_pairs: Some(Vec::new()) })
}
