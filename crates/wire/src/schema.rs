//! Member tables: what the models say about each shape, as static data.

use std::sync::OnceLock;

use regex::Regex;

use crate::shape::{Shape, Structure};

/// The table of one structure.
#[derive(Debug)]
pub struct Schema {
    /// The shape's name in the model.
    pub name: &'static str,
    /// Its members, in the model's order; a member's index is its position here.
    pub members: &'static [Member],
    pub role: Role,
}

/// What a structure is in its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Plain,
    /// A union of the events that an answer's body is made of.
    EventStream,
    /// What ends a stream in place of an event.
    Error,
}

/// One member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The name in the model, and in JSON.
    pub name: &'static str,
    /// `locationName`, or empty: the name in XML, and in Query parameters.
    pub location: &'static str,
    /// `queryName`, or empty: the parameter name in EC2 Query.
    pub query: &'static str,
    /// The request is invalid without it.
    pub required: bool,
    /// A client fills it with a fresh token when it is left out.
    pub idempotency_token: bool,
    /// What it holds.
    pub ty: &'static Type,
}

/// What a member, a list element or a map value holds.
#[derive(Debug)]
pub struct Type {
    /// Which kind of value.
    pub kind: Kind,
    /// Smallest number, or length of text, bytes, list or map.
    pub min: Option<i64>,
    /// Largest number, or length of text, bytes, list or map.
    pub max: Option<i64>,
    /// The members of an enumeration; empty when the text is free.
    pub values: &'static [&'static str],
    /// What the whole of a text must match.
    pub pattern: Option<&'static Pattern>,
    /// Must not be printed.
    pub sensitive: bool,
    /// List or map without a wrapping element.
    pub flattened: bool,
}

/// A regular expression of a model.
#[derive(Debug)]
pub struct Pattern {
    /// In the model's words, for messages.
    pub source: &'static str,
    /// The same for linear-time matching.
    regex: &'static str,
    /// What must not match: the model's look-ahead. Empty for none.
    not: &'static str,
    compiled: OnceLock<Compiled>,
}

/// Both expressions of a pattern, or nothing if they are none.
type Compiled = Option<(Regex, Option<Regex>)>;

/// Kinds of values.
#[derive(Debug)]
pub enum Kind {
    String,
    Boolean,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    Double,
    Timestamp,
    Blob,
    /// Any JSON.
    Document,
    List(Element),
    Map(Element, Element),
    Structure(&'static Schema),
}

/// The element of a list, or the key or the value of a map.
#[derive(Debug)]
pub struct Element {
    pub ty: &'static Type,
    /// Its name in XML and Query: `member`, `item`, `key`, `value`, or what the model says.
    pub name: &'static str,
}

/// A protocol of AWS's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON with the operation in `X-Amz-Target`.
    Json,
    /// Form in, XML out.
    Query,
    /// Query with EC2's own list, name and error rules.
    Ec2,
    /// Smithy's RPC v2 CBOR, with service and operation in the path.
    Cbor,
    /// JSON with a path of its own for each operation, POSTed (restJson1).
    RestJson,
}

/// One service as the models describe it.
#[derive(Debug)]
pub struct ServiceModel {
    /// The name of its module, which is botocore's and the CLI's: `ecs`, `elbv2`.
    pub id: &'static str,
    /// The SDK's name: `ECS`, `Elastic Load Balancing v2`.
    pub sdk_id: &'static str,
    /// The first label of its host name: `api.ecr`.
    pub endpoint_prefix: &'static str,
    /// The service in a SigV4 credential scope: `elasticloadbalancing`.
    pub signing_name: &'static str,
    /// `2014-11-13`.
    pub api_version: &'static str,
    /// The one our own client speaks, and an answer to a request whose protocol is not known.
    pub protocol: Protocol,
    /// All that the service answers; the request chooses.
    pub protocols: &'static [Protocol],
    /// JSON and CBOR errors also carry the code that Query had for them (Smithy's `awsQueryCompatible`).
    pub query_compatible: bool,
    /// `1.0` or `1.1`; empty for XML protocols.
    pub json_version: &'static str,
    /// The service in `X-Amz-Target` and in paths of CBOR requests; empty for XML protocols.
    pub target_prefix: &'static str,
    /// The namespace of XML responses; empty for JSON protocols.
    pub xml_namespace: &'static str,
    /// Paths of restJson1 and whose they are, sorted; empty for the other protocols.
    pub paths: &'static [(&'static str, &'static str)],
    /// Sorted by name.
    pub operations: &'static [&'static OperationModel],
    /// The names of all operations that AWS's model of the service has, sorted.
    pub all: &'static [&'static str],
}

/// One operation as the models describe it.
#[derive(Debug)]
pub struct OperationModel {
    pub name: &'static str,
    /// An empty input, for those who know the operation only by name.
    pub new_input: fn() -> Box<dyn Structure>,
    /// An empty output.
    pub new_output: fn() -> Box<dyn Structure>,
    pub input: &'static Schema,
    pub output: &'static Schema,
    /// Whether the model has an output shape; a Query response without one has no result element.
    pub has_output: bool,
    /// The element around a Query result; empty when there is none.
    pub result_wrapper: &'static str,
    pub errors: &'static [&'static ErrorModel],
    pub paginator: Option<Paginator>,
}

/// A modelled error.
#[derive(Debug)]
pub struct ErrorModel {
    /// The shape's name in the model.
    pub shape: &'static str,
    /// The code on the wire, in Query where that differs from the shape's name.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The member that holds the message: `message` or `Message`.
    pub message: &'static str,
}

/// How an operation's pages follow each other. Names are top-level members; a result key may be a dotted path.
#[derive(Clone, Copy, Debug)]
pub struct Paginator {
    pub input_token: &'static [&'static str],
    pub output_token: &'static [&'static str],
    pub limit_key: &'static str,
    pub result_key: &'static [&'static str],
    /// A boolean member of the output that says whether more follows; empty when the token says it.
    pub more_results: &'static str,
}

/// For [`OperationModel::new_input`] and [`OperationModel::new_output`].
pub fn boxed<T: Shape>() -> Box<dyn Structure> {
    Box::new(T::default())
}

/// Plain scalars, shared by all services.
pub static STRING: Type = Type::new(Kind::String);
pub static BOOLEAN: Type = Type::new(Kind::Boolean);
pub static INTEGER: Type = Type::new(Kind::Integer);
pub static LONG: Type = Type::new(Kind::Long);
pub static DOUBLE: Type = Type::new(Kind::Double);
pub static TIMESTAMP: Type = Type::new(Kind::Timestamp);
pub static DOCUMENT: Type = Type::new(Kind::Document);
pub static BLOB: Type = Type::new(Kind::Blob);

impl Schema {
    pub const fn new(name: &'static str, members: &'static [Member]) -> Self {
        Schema { name, members, role: Role::Plain }
    }

    pub const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The index of the member with this model name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|m| m.name == name)
    }
}

impl Member {
    pub const fn new(name: &'static str, ty: &'static Type) -> Self {
        Member { name, location: "", query: "", required: false, idempotency_token: false, ty }
    }

    pub const fn location(mut self, name: &'static str) -> Self {
        self.location = name;
        self
    }

    pub const fn query(mut self, name: &'static str) -> Self {
        self.query = name;
        self
    }

    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub const fn token(mut self) -> Self {
        self.idempotency_token = true;
        self
    }

    /// The name in XML responses.
    pub fn xml_name(&self) -> &'static str {
        if self.location.is_empty() { self.name } else { self.location }
    }
}

impl Type {
    pub const fn new(kind: Kind) -> Self {
        Type { kind, min: None, max: None, values: &[], pattern: None, sensitive: false, flattened: false }
    }

    pub const fn list(name: &'static str, ty: &'static Type) -> Self {
        Type::new(Kind::List(Element { ty, name }))
    }

    pub const fn map(key: (&'static str, &'static Type), value: (&'static str, &'static Type)) -> Self {
        Type::new(Kind::Map(Element { ty: key.1, name: key.0 }, Element { ty: value.1, name: value.0 }))
    }

    pub const fn structure(schema: &'static Schema) -> Self {
        Type::new(Kind::Structure(schema))
    }

    pub const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }

    pub const fn max(mut self, max: i64) -> Self {
        self.max = Some(max);
        self
    }

    pub const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    pub const fn pattern(mut self, pattern: &'static Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    pub const fn flattened(mut self) -> Self {
        self.flattened = true;
        self
    }
}

impl Pattern {
    /// `source` as the model has it; `regex` and `not` in the syntax of the crate `regex`.
    pub const fn new(source: &'static str, regex: &'static str, not: &'static str) -> Self {
        Pattern { source, regex, not, compiled: OnceLock::new() }
    }

    /// Whether the expressions can be understood; a test holds that all can.
    pub fn is_sound(&self) -> bool {
        self.compiled().is_some()
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled().as_ref().is_none_or(|(wanted, unwanted)| {
            wanted.is_match(text) && !unwanted.as_ref().is_some_and(|unwanted| unwanted.is_match(text))
        })
    }

    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| {
            let whole = Regex::new(&format!(r"\A(?:{})\z", self.regex)).ok()?;
            let not = if self.not.is_empty() { None } else { Some(Regex::new(self.not).ok()?) };
            Some((whole, not))
        })
    }
}

impl Protocol {
    /// A form, answered in XML.
    pub fn is_form(self) -> bool {
        match self {
            Protocol::Query | Protocol::Ec2 => true,
            Protocol::Json | Protocol::Cbor | Protocol::RestJson => false,
        }
    }
}

impl OperationModel {
    /// The index of the output's member that is a stream of events; its only one.
    pub fn stream(&self) -> Option<usize> {
        let is_stream =
            |member: &Member| matches!(&member.ty.kind, Kind::Structure(schema) if schema.role == Role::EventStream);
        self.output.members.iter().position(is_stream)
    }
}

impl ServiceModel {
    /// Whether the service answers requests of this protocol.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// The modelled error with this code.
    pub fn error(&self, code: &str) -> Option<&'static ErrorModel> {
        self.operations.iter().flat_map(|o| o.errors).find(|e| e.code == code).copied()
    }

    /// The operation of restJson1 that this path calls.
    pub fn at_path(&self, path: &str) -> Option<&'static OperationModel> {
        let found = self.paths.binary_search_by(|(known, _)| (*known).cmp(path)).ok()?;
        self.operation(self.paths[found].1)
    }

    /// The path that calls an operation: of restJson1 its own, else `/`.
    pub fn path_of(&self, operation: &OperationModel) -> &'static str {
        self.paths.iter().find(|(_, name)| *name == operation.name).map_or("/", |(path, _)| path)
    }

    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&'static OperationModel> {
        self.operations.binary_search_by(|o| o.name.cmp(name)).ok().map(|i| self.operations[i])
    }
}
