//! Checks an input against its member tables: required members, lengths,
//! ranges, enumerations and patterns, answered in the words of the service's protocol.

use crate::error::ServiceError;
use crate::form::{parameter_name, scalar_text};
use crate::schema::{Kind, OperationModel, Protocol, ServiceModel, Type};
use crate::shape::{Structure, View};

/// Most violations that one answer names.
const MAX_VIOLATIONS: usize = 10;

/// A constraint of the model that an input does not keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Member names joined by dots, `tags.1.member.key`; parameter names for EC2.
    pub path: String,
    /// The value as text; `None` when it is missing, or must not be shown.
    pub value: Option<String>,
    pub constraint: Constraint,
}

/// What is not kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    Required,
    MinLength(i64),
    MaxLength(i64),
    MinValue(i64),
    MaxValue(i64),
    Values(&'static [&'static str]),
    Pattern(&'static str),
}

/// Every violation in the input, in the order of the tables, at most ten.
pub fn violations(input: &dyn Structure, protocol: Protocol) -> Vec<Violation> {
    let mut found = Vec::new();
    structure(input, "", protocol, &mut found);
    found
}

/// Refuses an input that violates its model, with the service's own code and words.
pub fn check(
    input: &dyn Structure,
    protocol: Protocol,
    service: &ServiceModel,
    operation: &OperationModel,
) -> Result<(), ServiceError> {
    let found = violations(input, protocol);
    let Some(first) = found.first() else {
        return Ok(());
    };
    if protocol == Protocol::Ec2 {
        return Err(ec2_error(first));
    }
    if service.id == "ecr" {
        let message = format!("Invalid parameter at '{}' failed to satisfy constraint: '{}'", first.path, first.must());
        return Err(ServiceError::new(code(service, operation), message, 400));
    }
    let plural = if found.len() == 1 { "" } else { "s" };
    let texts: Vec<String> = found.iter().map(Violation::text).collect();
    let message = format!("{} validation error{plural} detected: {}", found.len(), texts.join("; "));
    Err(ServiceError::new(code(service, operation), message, 400))
}

/// The code for an input that violates its model.
pub fn code(service: &ServiceModel, operation: &OperationModel) -> &'static str {
    match service.protocol {
        _ if service.query_compatible => "ValidationError",
        Protocol::Query => "ValidationError",
        Protocol::Ec2 => "InvalidParameterValue",
        Protocol::Json | Protocol::Cbor | Protocol::RestJson => {
            let own = match service.id {
                // It models errors for parameters too, but only its own rules answer with them.
                "secretsmanager" => "ValidationException",
                "servicediscovery" => "InvalidInput",
                // Services that model this error use it also for what the model refuses.
                _ => "InvalidParameterException",
            };
            operation.errors.iter().find(|e| e.code == own).map_or("ValidationException", |e| e.code)
        }
    }
}

impl Violation {
    fn text(&self) -> String {
        let value = match (&self.value, &self.constraint) {
            (Some(value), _) => format!("Value '{value}' at"),
            (None, Constraint::Required) => "Value null at".to_owned(),
            (None, _) => "Value at".to_owned(),
        };
        format!("{value} '{}' failed to satisfy constraint: Member {}", self.path, self.must())
    }

    /// What the value should have been: `must not be null`.
    fn must(&self) -> String {
        let must = match &self.constraint {
            Constraint::Required => "not be null".to_owned(),
            Constraint::MinLength(n) => format!("have length greater than or equal to {n}"),
            Constraint::MaxLength(n) => format!("have length less than or equal to {n}"),
            Constraint::MinValue(n) => format!("have value greater than or equal to {n}"),
            Constraint::MaxValue(n) => format!("have value less than or equal to {n}"),
            Constraint::Values(values) => format!("satisfy enum value set: [{}]", values.join(", ")),
            Constraint::Pattern(source) => format!("satisfy regular expression pattern: {source}"),
        };
        format!("must {must}")
    }
}

fn ec2_error(violation: &Violation) -> ServiceError {
    if violation.constraint == Constraint::Required {
        let message = format!("The request must contain the parameter {}", violation.path);
        return ServiceError::new("MissingParameter", message, 400);
    }
    let value = violation.value.as_deref().unwrap_or_default();
    let reason = match &violation.constraint {
        Constraint::Required => String::new(),
        Constraint::MinLength(n) => format!("The length must be at least {n}."),
        Constraint::MaxLength(n) => format!("The length must be at most {n}."),
        Constraint::MinValue(n) => format!("Expecting a value of at least {n}."),
        Constraint::MaxValue(n) => format!("Expecting a value of at most {n}."),
        Constraint::Values(values) => format!("Expecting one of: {}.", values.join(", ")),
        Constraint::Pattern(source) => format!("It must match {source}."),
    };
    let message = format!("Value ({value}) for parameter {} is invalid. {reason}", violation.path);
    ServiceError::new("InvalidParameterValue", message, 400)
}

fn structure(shape: &dyn Structure, prefix: &str, protocol: Protocol, found: &mut Vec<Violation>) {
    for (i, member) in shape.schema().members.iter().enumerate() {
        let name = match protocol {
            Protocol::Ec2 => parameter_name(member, protocol).into_owned(),
            Protocol::Json | Protocol::Query | Protocol::Cbor | Protocol::RestJson => decapitalised(member.name),
        };
        let path = join(prefix, &name);
        match shape.member(i).view() {
            View::Absent if member.required => {
                push(found, Violation { path, value: None, constraint: Constraint::Required });
            }
            View::Absent => {}
            view => value(view, member.ty, &path, protocol, found),
        }
    }
}

fn value(view: View<'_>, ty: &Type, path: &str, protocol: Protocol, found: &mut Vec<Violation>) {
    let mut fail = |constraint| {
        let text = scalar_text(view).filter(|_| !ty.sensitive).map(|text| shortened(&text));
        push(found, Violation { path: path.to_owned(), value: text, constraint });
    };
    let length = match view {
        View::String(text) => Some(text.chars().count()),
        View::Blob(bytes) => Some(bytes.len()),
        View::List(list) => Some(list.len()),
        View::Map(map) => Some(map.entries().len()),
        _ => None,
    };
    if let Some(length) = length.and_then(|n| i64::try_from(n).ok()) {
        if let Some(min) = ty.min.filter(|min| length < *min) {
            fail(Constraint::MinLength(min));
        }
        if let Some(max) = ty.max.filter(|max| length > *max) {
            fail(Constraint::MaxLength(max));
        }
    }
    let number = match view {
        View::Integer(n) => Some(f64::from(n)),
        View::Long(n) => Some(n as f64),
        View::Double(n) => Some(n),
        _ => None,
    };
    if let Some(number) = number {
        if let Some(min) = ty.min.filter(|min| number < *min as f64) {
            fail(Constraint::MinValue(min));
        }
        if let Some(max) = ty.max.filter(|max| number > *max as f64) {
            fail(Constraint::MaxValue(max));
        }
    }
    if let (View::String(text), Some(pattern)) = (view, ty.pattern)
        && !pattern.matches(text)
    {
        fail(Constraint::Pattern(pattern.source));
    }
    match (view, &ty.kind) {
        (View::String(text), _) if !ty.values.is_empty() && !ty.values.contains(&text) => {
            fail(Constraint::Values(ty.values));
        }
        (View::List(list), Kind::List(element)) => {
            for (i, item) in (0..list.len()).filter_map(|i| Some((i + 1, list.get(i)?))) {
                let path = match protocol {
                    Protocol::Ec2 => format!("{path}.{i}"),
                    Protocol::Json | Protocol::Query | Protocol::Cbor | Protocol::RestJson => {
                        format!("{path}.{i}.member")
                    }
                };
                value(item.view(), element.ty, &path, protocol, found);
            }
        }
        (View::Map(map), Kind::Map(key, element)) => {
            for (name, item) in map.entries() {
                let path = format!("{path}.{name}.member");
                value(View::String(name), key.ty, &path, protocol, found);
                value(item.view(), element.ty, &path, protocol, found);
            }
        }
        (View::Structure(shape), _) => structure(shape, path, protocol, found),
        _ => {}
    }
}

fn push(found: &mut Vec<Violation>, violation: Violation) {
    if found.len() < MAX_VIOLATIONS {
        found.push(violation);
    }
}

fn shortened(text: &str) -> String {
    const MAX: usize = 256;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn decapitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
