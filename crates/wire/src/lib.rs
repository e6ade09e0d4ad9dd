//! AWS's wire protocols as data-driven codecs, SigV4 and error envelopes.
//!
//! Generated structs (crate `quarry-aws`) carry member tables ([`Schema`]);
//! one codec per protocol walks any of them as `dyn` [`Structure`]. No handler
//! builds JSON or XML.

pub mod cbor;
pub mod client;
pub mod datachannel;
pub mod error;
pub mod eventstream;
pub mod form;
pub mod hash;
pub mod json;
pub mod scalar;
pub mod schema;
pub mod server;
pub mod shape;
pub mod sigv4;
pub mod validate;
pub mod xml;

#[doc(hidden)]
pub use serde;

pub use error::{DecodeError, ServiceError};
pub use scalar::{Blob, Document, Timestamp};
pub use schema::{
    Element, ErrorModel, Kind, Member, OperationModel, Paginator, Pattern, Protocol, Role, Schema, ServiceModel, Type,
};
pub use shape::{Empty, List, Map, Operation, Shape, Slot, Structure, Value, View};
#[doc(hidden)]
pub use shape::{debug, no_such_member};
