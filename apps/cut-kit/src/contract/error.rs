//! What every call may answer instead.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// For [`Code::Gap`]: the stored position, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// For [`Code::Epoch`] and [`Code::WrongOwner`]: the epoch of the fence row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// The kinds of [`Problem`]. A caller that meets one it does not know goes by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// 400: the request cannot be understood.
    BadRequest,
    /// 401: no secret, or another.
    Unauthorized,
    /// 404: no such call, or no such scope here.
    NotFound,
    /// 413: the body is longer than [`super::MAX_BODY`].
    TooLarge,
    /// 409: events or rows do not follow on what is stored.
    Gap,
    /// 409: the epoch is not above that of the fence row.
    Epoch,
    /// 409: the scope is owned, or not owned, and the other was needed.
    WrongOwner,
    /// 409: nothing is prepared for this.
    NotPrepared,
    /// 409: the tables are not what they were at `prepare`.
    SchemaChanged,
    /// 409: a row is not what the other side had, or digests differ.
    Diverged,
    /// 422: `verify` found no row to compare.
    NothingCompared,
    /// 503: a lock was not free in time; nothing was changed; try again.
    Busy,
    /// 507: the disk is full; nothing was changed.
    Full,
    /// 500: the database failed; nothing was changed.
    Failed,
}

impl Code {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Code::BadRequest => 400,
            Code::Unauthorized => 401,
            Code::NotFound => 404,
            Code::Gap | Code::Epoch | Code::WrongOwner | Code::NotPrepared | Code::SchemaChanged | Code::Diverged => {
                409
            }
            Code::TooLarge => 413,
            Code::NothingCompared => 422,
            Code::Failed => 500,
            Code::Busy => 503,
            Code::Full => 507,
        }
    }
}

impl Problem {
    /// A problem without a position.
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), position: None, epoch: None }
    }

    /// With a stored position.
    pub fn at(mut self, position: u64) -> Problem {
        self.position = Some(position);
        self
    }

    /// With the fence row's epoch.
    pub fn epoch(mut self, epoch: u64) -> Problem {
        self.epoch = Some(epoch);
        self
    }
}
