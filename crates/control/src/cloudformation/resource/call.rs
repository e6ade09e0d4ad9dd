//! Properties to requests: fills the input of any operation from a value, converting scalars as
//! CloudFormation does (`"80"` for 80, `"true"` for true, 5 for `"5"`), and reads its output.

use crate::api::{Ctx, Result};
use quarry_wire::{Kind, Operation, ServiceError, ServiceModel, Slot, Structure, Timestamp, Type};
use serde_json::{Map, Value};

/// Calls an operation with members from a map; letters may be of either case. Gives the
/// output with the model's member names.
pub fn call<O: Operation>(ctx: &mut Ctx<'_>, members: Value) -> Result<Value> {
    call_by_name(ctx, O::service(), O::NAME, &members)
}

fn call_by_name(
    ctx: &mut Ctx<'_>,
    service: &'static ServiceModel,
    operation: &'static str,
    members: &Value,
) -> Result<Value> {
    let output = ctx.invoke_by_name(service, operation, |handler| {
        let mut input = handler.input();
        if let Value::Object(members) = members {
            fill(input.structure(), members)?;
        }
        Ok(input)
    })?;
    Ok(quarry_wire::json::to_value(output.seen()))
}

/// The text at a JSON pointer of an output.
pub fn text(output: &Value, pointer: &str) -> Result<String> {
    output
        .pointer(pointer)
        .and_then(crate::cloudformation::template::text_of)
        .ok_or_else(|| ServiceError::new("InternalFailure", format!("the answer of a service lacks {pointer}"), 500))
}

/// Fills a structure. A member that it has not is an unsupported property.
pub fn fill(target: &mut dyn Structure, members: &Map<String, Value>) -> Result<()> {
    let schema = target.schema();
    for (name, value) in members {
        let found = schema.members.iter().position(|member| same_name(member.name, name));
        let index = found.ok_or_else(|| refused(format!("Encountered unsupported property {name}")))?;
        put(target.member_mut(index).slot(), schema.members[index].ty, value, name)?;
    }
    Ok(())
}

fn put(slot: Slot<'_>, ty: &Type, value: &Value, name: &str) -> Result<()> {
    let scalar = || crate::cloudformation::template::text_of(value);
    let must_be = |what: &str| refused(format!("Value of property {name} must be {what}"));
    match slot {
        Slot::Boolean(target) => {
            *target = match scalar().as_deref() {
                Some("true") => true,
                Some("false") => false,
                _ => return Err(must_be("of type Boolean")),
            }
        }
        Slot::Integer(target) => *target = number(scalar()).ok_or_else(|| must_be("of type Integer"))?,
        Slot::Long(target) => *target = number(scalar()).ok_or_else(|| must_be("of type Long"))?,
        Slot::Double(target) => *target = number(scalar()).ok_or_else(|| must_be("of type Number"))?,
        Slot::Timestamp(target) => {
            *target = scalar().as_deref().and_then(Timestamp::parse).ok_or_else(|| must_be("a timestamp"))?;
        }
        Slot::String(target) => *target = scalar().ok_or_else(|| must_be("of type String"))?,
        Slot::Blob(_) => return Err(refused(format!("Encountered unsupported property {name}"))),
        Slot::Document(target) => target.clone_from(value),
        Slot::List(target) => {
            let Kind::List(element) = &ty.kind else { return Err(must_be("of another type")) };
            // A single value stands for a list of one.
            let items = match value {
                Value::Array(items) => items.as_slice(),
                Value::Object(_) => return Err(must_be("of type List")),
                one => std::slice::from_ref(one),
            };
            for item in items {
                put(target.push().slot(), element.ty, item, name)?;
            }
        }
        Slot::Map(target) => {
            let Kind::Map(_, element) = &ty.kind else { return Err(must_be("of another type")) };
            let Value::Object(entries) = value else { return Err(must_be("an object")) };
            for (key, item) in entries {
                put(target.insert(key.clone()).slot(), element.ty, item, name)?;
            }
        }
        Slot::Structure(target) => {
            let Value::Object(members) = value else { return Err(must_be("an object")) };
            fill(target, members)?;
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
    text?.trim().parse().ok()
}

/// `VpcId` is `vpcId`, and `EFSVolumeConfiguration` is `efsVolumeConfiguration`.
fn same_name(member: &str, property: &str) -> bool {
    member.eq_ignore_ascii_case(property)
}

/// A property that cannot be taken. [`REFUSED`] is its code, which no service has.
pub fn refused(message: impl Into<String>) -> ServiceError {
    ServiceError::new(REFUSED, message, 400)
}

/// Marks what CloudFormation itself refuses, as against what a service answers.
pub const REFUSED: &str = "PropertyRefused";

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_aws::elbv2::CreateTargetGroupInput;
    use serde_json::json;

    fn filled(members: Value) -> Result<CreateTargetGroupInput, String> {
        let mut input = CreateTargetGroupInput::default();
        fill(&mut input, members.as_object().unwrap()).map_err(|e| e.message)?;
        Ok(input)
    }

    #[test]
    fn scalars_are_converted() {
        let input = filled(json!({
            "Port": "80", "Name": 5, "HealthCheckEnabled": "true", "Matcher": {"HttpCode": 200},
            "Tags": [{"Key": "a", "Value": 1}],
        }))
        .unwrap();
        assert_eq!((input.port, input.name.as_deref(), input.health_check_enabled), (Some(80), Some("5"), Some(true)));
        assert_eq!(input.matcher.unwrap().http_code.as_deref(), Some("200"));
        assert_eq!(input.tags.unwrap()[0].value.as_deref(), Some("1"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(filled(json!({"Colour": 1})), Err("Encountered unsupported property Colour".into()));
        assert_eq!(filled(json!({"Port": "many"})), Err("Value of property Port must be of type Integer".into()));
        assert_eq!(filled(json!({"Tags": {"a": 1}})), Err("Value of property Tags must be of type List".into()));
        assert_eq!(filled(json!({"Matcher": {"Nope": 1}})), Err("Encountered unsupported property Nope".into()));
    }
}
