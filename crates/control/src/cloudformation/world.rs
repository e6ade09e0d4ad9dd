//! What the functions of a template see of a stack: its resources, its name, other stacks' exports.

use super::records::{Export, Stack, StackResource};
use super::template::{Evaluator, Lookup, Pseudo, Template, parameter};
use crate::api::{Ctx, Result};
use quarry_wire::ServiceError;
use serde_json::Value;
use std::collections::HashMap;

/// Resources and exports as they are in one transaction.
#[derive(Default)]
pub struct World {
    resources: HashMap<String, StackResource>,
    exports: HashMap<String, String>,
}

impl World {
    pub fn read(ctx: &Ctx<'_>, stack_id: &str) -> Result<Self> {
        let resources = ctx.tx.children::<StackResource>(stack_id)?;
        let exports = ctx.tx.all::<Export>()?;
        Ok(Self {
            resources: resources.into_iter().map(|r| (r.logical_id.clone(), r)).collect(),
            exports: exports.into_iter().map(|e| (e.name, e.value)).collect(),
        })
    }

    pub fn resource(&self, logical_id: &str) -> Option<&StackResource> {
        self.resources.get(logical_id)
    }

    /// An evaluator for this stack's template.
    pub fn evaluator<'a>(&'a self, ctx: &Ctx<'_>, stack: &Stack, template: &'a Template) -> Result<Evaluator<'a>> {
        evaluator(ctx, stack, template, self)
    }
}

/// An evaluator for this stack's template that looks resources up in `lookup`.
pub fn evaluator<'a>(
    ctx: &Ctx<'_>,
    stack: &Stack,
    template: &'a Template,
    lookup: &'a dyn Lookup,
) -> Result<Evaluator<'a>> {
    let place = ctx.platform.place();
    let pseudo = Pseudo {
        account: place.account.clone(),
        region: place.region.clone(),
        zones: place.zones().to_vec(),
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        notification_arns: stack.revision.notification_arns.clone(),
    };
    Evaluator::new(template, parameter::references(&stack.revision.parameters), pseudo, lookup)
        .map_err(|error| refused(error.to_string()))
}

impl Lookup for World {
    fn reference(&self, logical: &str) -> Option<Value> {
        let state = &self.resources.get(logical)?.state;
        state.reference.clone().or_else(|| state.physical_id.clone()).map(Value::from)
    }

    fn attribute(&self, logical: &str, name: &str) -> Option<Value> {
        self.resources.get(logical)?.state.attributes.get(name).cloned()
    }

    fn import(&self, name: &str) -> Option<String> {
        self.exports.get(name).cloned()
    }
}

/// The name of a stack that imports an export of this one.
pub fn importer(ctx: &Ctx<'_>, stack_id: &str, export: &str) -> Result<Option<String>> {
    let stacks = ctx.tx.all::<Stack>()?.into_iter();
    let mut others = stacks.filter(|other| other.deleted_ms.is_none() && other.id != stack_id);
    Ok(others.find(|other| other.revision.imports.contains(export)).map(|other| other.name))
}

/// `ValidationError`, HTTP 400: what CloudFormation says to most of what it cannot take.
pub fn refused(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message, 400)
}
