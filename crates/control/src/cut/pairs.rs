//! Which two sides a cut has.

use super::admin::Admin;
use super::contract::ContractPair;
use super::pair::{Pair, Trouble};
use super::records::{Cut, Part};
use crate::platform::Platform;
use quarry_domain::cut::Data;
use std::rc::Rc;
use std::sync::Arc;

/// `None`: it has no data.
pub fn of(platform: &Arc<Platform>, cut: &Cut) -> Result<Option<Rc<dyn Pair>>, Trouble> {
    match cut.spec.data {
        Data::None => Ok(None),
        Data::Contract => {
            let pair = contract(platform, &cut.scope, &cut.from, &cut.to)?;
            Ok(Some(Rc::new(pair)))
        }
        Data::Database => Err(Trouble::new("databases are not moved by this version without the contract")),
    }
}

/// The contract at two services.
pub fn contract(platform: &Arc<Platform>, scope: &str, from: &Part, to: &Part) -> Result<ContractPair, Trouble> {
    let admin = |part: &Part| {
        let port = part.admin_port.ok_or_else(|| Trouble::new(format!("{} has no CUT_ADMIN_PORT", part.service)))?;
        Ok::<_, Trouble>(Admin::new(platform.clone(), &part.service_arn, port))
    };
    Ok(ContractPair::new(scope, admin(from)?, admin(to)?))
}
