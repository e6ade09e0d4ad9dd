//! Traces as AWS X-Ray has them: segment documents, what they say together, filter expressions over them, the service
//! graph, sampling rules, and the headers by which a trace goes from one service to the next.

pub mod daemon;
pub mod filter;
pub mod graph;
pub mod header;
pub mod sampling;
pub mod segment;

mod view;

pub use segment::{Annotation, Invalid, Segment};
pub use view::{Call, Node, Service, Trace};
