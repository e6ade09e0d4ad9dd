//! What a write asks: may it write here, and in this epoch?
//!
//! Inside the write's own transaction, read the fence row with [`SQLITE`] or [`POSTGRES`] and give it to
//! [`decide`] with the request's `X-Cut-Epoch`. The answer to a refused write is [`STATUS`] with the
//! header `X-Cut-Fenced: <scope>`: it says that nothing was executed, so the balancer may send the request
//! elsewhere. Whatever goes round this (a cron job, another path, an older program) is refused by
//! the triggers; [`refused_by_trigger`] knows their message.

/// Reads `owner` (0 or 1) and `epoch` of the scope `?1`. No row, or no such table: there is no fence.
pub const SQLITE: &str = "SELECT owner, epoch FROM cut_fence WHERE scope = ?1";
/// Reads `owner` (0 or 1) and `epoch` of the scope `$1`, and holds them until the transaction ends.
pub const POSTGRES: &str = "SELECT owner, epoch FROM cut_fence WHERE scope = $1 FOR SHARE";
/// 421 Misdirected Request.
pub const STATUS: u16 = 421;
/// What the triggers' message begins with; the scope follows.
pub const MESSAGE: &str = "cut: not owned here: ";
/// The SQLSTATE of the triggers of PostgreSQL.
pub const SQLSTATE: &str = "CU421";

/// A write that was refused and did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another database owns the scope.
    #[error("{0} is written elsewhere now")]
    NotOwner(String),
    /// The request was routed before the scope moved.
    #[error("{0} is in another epoch than the request")]
    OtherEpoch(String),
}

impl Refused {
    /// The value of `X-Cut-Fenced`.
    pub fn scope(&self) -> &str {
        match self {
            Refused::NotOwner(scope) | Refused::OtherEpoch(scope) => scope,
        }
    }
}

/// The epoch of a request's `X-Cut-Epoch`. A value that is no number is an epoch that no fence has.
pub fn epoch(header: Option<&str>) -> Option<u64> {
    header.map(|text| text.trim().parse().unwrap_or(u64::MAX))
}

/// Whether a write of `scope` may go on: `row` is the fence row (owner, epoch), `epoch` the request's.
pub fn decide(scope: &str, row: Option<(i64, i64)>, epoch: Option<u64>) -> Result<(), Refused> {
    let Some((owner, now)) = row else { return Ok(()) };
    if owner != 1 {
        return Err(Refused::NotOwner(scope.to_owned()));
    }
    match epoch {
        Some(epoch) if u64::try_from(now) != Ok(epoch) => Err(Refused::OtherEpoch(scope.to_owned())),
        _ => Ok(()),
    }
}

/// The scope, where a database's error message is the triggers' refusal.
pub fn refused_by_trigger(message: &str) -> Option<Refused> {
    let (_, rest) = message.split_once(MESSAGE)?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
    Some(Refused::NotOwner(rest[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_in_the_request_s_epoch_writes() {
        assert_eq!(decide("posts", None, Some(7)), Ok(()));
        assert_eq!(decide("posts", Some((1, 7)), None), Ok(()));
        assert_eq!(decide("posts", Some((1, 7)), epoch(Some("7"))), Ok(()));
        assert_eq!(decide("posts", Some((1, 8)), epoch(Some("7"))), Err(Refused::OtherEpoch("posts".into())));
        assert_eq!(decide("posts", Some((1, 8)), epoch(Some("x"))), Err(Refused::OtherEpoch("posts".into())));
        assert_eq!(decide("posts", Some((0, 7)), Some(7)), Err(Refused::NotOwner("posts".into())));
        let message = "error: cut: not owned here: posts at line 1";
        assert_eq!(refused_by_trigger(message), Some(Refused::NotOwner("posts".into())));
        assert_eq!(refused_by_trigger("disk full"), None);
    }
}
