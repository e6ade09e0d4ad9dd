//! Policy documents: from their JSON (AWS's "Grammar of the IAM JSON policy language") to what is evaluated.

use super::condition::Condition;
use super::glob::Glob;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A document, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
    /// Condition keys that it asks for, in lower case.
    keys: BTreeSet<String>,
}

/// What a statement that applies says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub sid: Option<String>,
    pub effect: Effect,
    /// None in a policy of an identity.
    pub principals: Option<Principals>,
    pub actions: OneOrNot<Vec<Glob>>,
    /// None where the policy is about the one resource that it is attached to.
    pub resources: Option<OneOrNot<Vec<Glob>>>,
    pub conditions: Vec<Condition>,
}

/// An element, or its opposite such as `NotAction`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OneOrNot<T> {
    These(T),
    AllBut(T),
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Principals {
    pub not: bool,
    /// `"*"`, or `{"AWS": "*"}`.
    pub everyone: bool,
    /// Account ids and ARNs.
    pub aws: Vec<String>,
    /// For example `ecs-tasks.amazonaws.com`.
    pub services: Vec<String>,
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPolicy(pub String);

impl Policy {
    /// Reads a document. What the grammar does not have is an error, never passed over.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let document: Value = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let document = document.as_object().ok_or_else(|| invalid("a policy is an object"))?;
        if let Some(key) = document.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
            return Err(invalid(format!("a policy has no element {key}")));
        }
        let variables = match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => return Err(invalid("the version is 2012-10-17 or 2008-10-17")),
        };
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(statement @ Value::Object(_)) => vec![statement],
            _ => return Err(invalid("a policy has statements")),
        };
        let statements: Vec<Statement> =
            statements.into_iter().map(|one| statement(one, variables)).collect::<Result<_, _>>()?;
        let keys = statements.iter().flat_map(Statement::keys).collect();
        Ok(Self { statements, keys })
    }

    /// Denies everything: in place of a stored document that cannot be read.
    pub fn deny_all() -> Self {
        let everything = || OneOrNot::These(vec![Glob::new("*", false)]);
        let statement = Statement {
            sid: None,
            effect: Effect::Deny,
            principals: None,
            actions: everything(),
            resources: None,
            conditions: Vec::new(),
        };
        Self { statements: vec![statement], keys: BTreeSet::new() }
    }

    /// The condition keys that it asks for, in conditions and variables, in lower case and in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// Whether it asks for a key that begins so; `prefix` in lower case.
    pub fn asks_for(&self, prefix: &str) -> bool {
        self.keys.range(prefix.to_owned()..).next().is_some_and(|key| key.starts_with(prefix))
    }
}

impl Statement {
    fn keys(&self) -> BTreeSet<String> {
        let resources = match &self.resources {
            Some(OneOrNot::These(globs) | OneOrNot::AllBut(globs)) => globs.as_slice(),
            None => &[],
        };
        let in_resources = resources.iter().flat_map(Glob::variables).map(str::to_owned);
        in_resources.chain(self.conditions.iter().flat_map(Condition::keys)).collect()
    }
}

fn statement(value: &Value, variables: bool) -> Result<Statement, InvalidPolicy> {
    const ELEMENTS: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    let statement = value.as_object().ok_or_else(|| invalid("a statement is an object"))?;
    if let Some(key) = statement.keys().find(|key| !ELEMENTS.contains(&key.as_str())) {
        return Err(invalid(format!("a statement has no element {key}")));
    }
    let effect = match statement.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(invalid("an effect is Allow or Deny")),
    };
    let sid = match statement.get("Sid") {
        None => None,
        Some(Value::String(sid)) => Some(sid.clone()),
        Some(_) => return Err(invalid("a Sid is text")),
    };
    let actions =
        globs(statement, "Action", "NotAction", &Glob::action)?.ok_or_else(|| invalid("a statement has actions"))?;
    let resources = globs(statement, "Resource", "NotResource", &|text| Glob::new(text, variables))?;
    let principals = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (None, None) => None,
        (Some(value), None) => Some(principals(value, false)?),
        (None, Some(value)) => Some(principals(value, true)?),
        (Some(_), Some(_)) => return Err(invalid("a statement has Principal or NotPrincipal")),
    };
    let mut conditions = Vec::new();
    if let Some(value) = statement.get("Condition") {
        let operators = value.as_object().ok_or_else(|| invalid("a Condition is an object"))?;
        for (operator, keys) in operators {
            let keys = keys.as_object().ok_or_else(|| invalid("a condition is of keys and values"))?;
            for (key, value) in keys {
                let values = scalars(value).ok_or_else(|| invalid("a condition's values are text"))?;
                let condition = Condition::new(operator, key, &values, variables);
                conditions.push(condition.ok_or_else(|| invalid(format!("there is no operator {operator}")))?);
            }
        }
    }
    Ok(Statement { sid, effect, principals, actions, resources, conditions })
}

fn globs(
    statement: &Map<String, Value>,
    one: &str,
    not: &str,
    compile: &dyn Fn(&str) -> Glob,
) -> Result<Option<OneOrNot<Vec<Glob>>>, InvalidPolicy> {
    let compiled = |value: &Value| {
        let texts = texts(value).ok_or_else(|| invalid(format!("{one} is text or a list of texts")))?;
        Ok(texts.into_iter().map(compile).collect())
    };
    match (statement.get(one), statement.get(not)) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(OneOrNot::These(compiled(value)?))),
        (None, Some(value)) => Ok(Some(OneOrNot::AllBut(compiled(value)?))),
        (Some(_), Some(_)) => Err(invalid(format!("a statement has {one} or {not}"))),
    }
}

fn principals(value: &Value, not: bool) -> Result<Principals, InvalidPolicy> {
    let mut all = Principals { not, everyone: false, aws: Vec::new(), services: Vec::new() };
    let kinds = match value {
        Value::String(everyone) if everyone == "*" => {
            all.everyone = true;
            return Ok(all);
        }
        Value::Object(kinds) => kinds,
        _ => return Err(invalid("a principal is \"*\" or an object")),
    };
    for (kind, value) in kinds {
        let names = texts(value).ok_or_else(|| invalid("a principal is text or a list of texts"))?;
        for name in names {
            match kind.as_str() {
                "AWS" if name == "*" => all.everyone = true,
                "AWS" => all.aws.push(name.to_owned()),
                "Service" => all.services.push(name.to_owned()),
                // Nobody signs in with these here.
                "Federated" | "CanonicalUser" => {}
                _ => return Err(invalid(format!("there are no principals of the kind {kind}"))),
            }
        }
    }
    Ok(all)
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(many) => many.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// One value or several, numbers and booleans as text.
fn scalars(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(many) => many.iter().map(scalar).collect(),
        one => scalar(one).map(|one| vec![one]),
    }
}

fn invalid(message: impl Into<String>) -> InvalidPolicy {
    InvalidPolicy(message.into())
}
