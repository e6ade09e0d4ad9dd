//! Stacks.

use super::{Call, Plan, Planned};
use crate::form::{Form, encoded};
use quarry_aws::cloudformation::op::DeleteStack;
use serde_json::json;

pub fn delete_stack(form: &Form) -> Planned {
    let name = form.needed("stack", "The stack")?;
    let call = Call::of::<DeleteStack>(json!({"StackName": name}));
    let then = format!("/stacks/{}", encoded(name));
    let plan = Plan::new(format!("Delete the stack {name}"), call, format!("{name} is being deleted."), then);
    Ok(plan.warned("Everything that the stack made is deleted with it."))
}
