//! Which two sides a cut has.

use super::admin::Admin;
use super::contract::ContractPair;
use super::database::{self, Database, Url};
use super::end::End;
use super::pair::{Pair, Trouble};
use super::records::{Cut, Part};
use crate::platform::Platform;
use quarry_domain::cut::{Data, Side};
use quarry_domain::sealed::Sealed;
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
        Data::Database => {
            let sealed = cut.databases.as_ref().ok_or_else(|| Trouble::new("the databases are not known"))?;
            let end = |side: Side, sealed: &Sealed| {
                let opened = platform.vault.open_sealed(&database::context(&cut.id, side), sealed);
                let clear = opened.map_err(|error| Trouble::new(error.to_string()))?;
                let url = Url::new(String::from_utf8_lossy(clear.bytes()));
                Ok::<_, Trouble>(End::Database(Box::new(Database::new(url, database::scope(&cut.scope, &cut.tables)))))
            };
            let (source, destination) =
                (end(Side::Source, &sealed.source)?, end(Side::Destination, &sealed.destination)?);
            Ok(Some(Rc::new(ContractPair::new(&cut.scope, source, destination))))
        }
    }
}

/// The contract at two services.
pub fn contract(platform: &Arc<Platform>, scope: &str, from: &Part, to: &Part) -> Result<ContractPair, Trouble> {
    let end = |part: &Part| {
        let port = part.admin_port.ok_or_else(|| Trouble::new(format!("{} has no CUT_ADMIN_PORT", part.service)))?;
        Ok::<_, Trouble>(End::Application(Admin::new(platform.clone(), &part.service_arn, port)))
    };
    Ok(ContractPair::new(scope, end(from)?, end(to)?))
}
