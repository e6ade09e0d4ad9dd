//! The settings of the account: what exists, and ECS's defaults.

use super::records::AccountSetting;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{Setting, error};

/// Names, values allowed here, and the default, which is the first one. The long ARN formats cannot
/// be opted out of any more; the others' other values would change what is not offered here.
const SETTINGS: &[(&str, &[&str])] = &[
    ("awsvpcTrunking", &["disabled"]),
    ("containerInsights", &["disabled"]),
    ("containerInstanceLongArnFormat", &["enabled"]),
    ("defaultLogDriverMode", &["non-blocking"]),
    ("fargateFIPSMode", &["disabled"]),
    ("fargateTaskRetirementWaitPeriod", &["7", "0", "14"]),
    ("guardDutyActivate", &["off"]),
    ("serviceLongArnFormat", &["enabled"]),
    ("tagResourceAuthorization", &["off"]),
    ("taskLongArnFormat", &["enabled"]),
];

/// Sets a setting and returns it.
pub fn put(ctx: &Ctx<'_>, name: Option<&str>, value: Option<&str>) -> Result<Setting> {
    let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
    let values = values(name)?;
    if !values.contains(&value) {
        return Err(error::invalid_parameter_exception(format!(
            "The setting {name} can have these values here: {}.",
            values.join(", ")
        )));
    }
    ctx.tx.put(&AccountSetting { name: name.to_owned(), value: value.to_owned() })?;
    Ok(show(ctx, name, value))
}

/// Takes a setting back to its default and returns what was in force.
pub fn delete(ctx: &Ctx<'_>, name: Option<&str>) -> Result<Setting> {
    let name = name.unwrap_or_default();
    let value = in_force(ctx, name, values(name)?[0])?;
    ctx.tx.delete::<AccountSetting>(name)?;
    Ok(show(ctx, name, &value))
}

/// All settings, or the one of that name; with `effective` also those never set.
pub fn list(ctx: &Ctx<'_>, name: Option<&str>, effective: bool) -> Result<Vec<Setting>> {
    if let Some(name) = name {
        values(name)?;
    }
    let mut settings = Vec::new();
    for (each, values) in SETTINGS.iter().filter(|(each, _)| name.is_none_or(|name| name == *each)) {
        if effective || ctx.tx.get::<AccountSetting>(each)?.is_some() {
            settings.push(show(ctx, each, &in_force(ctx, each, values[0])?));
        }
    }
    Ok(settings)
}

fn values(name: &str) -> Result<&'static [&'static str]> {
    let found = SETTINGS.iter().find(|(each, _)| *each == name);
    found
        .map(|(_, values)| *values)
        .ok_or_else(|| error::invalid_parameter_exception(format!("Unknown setting '{name}'.")))
}

fn in_force(ctx: &Ctx<'_>, name: &str, default: &str) -> Result<String> {
    Ok(ctx.tx.get::<AccountSetting>(name)?.map_or_else(|| default.to_owned(), |setting| setting.value))
}

fn show(ctx: &Ctx<'_>, name: &str, value: &str) -> Setting {
    Setting {
        name: Some(name.into()),
        value: Some(value.into()),
        principal_arn: Some(ctx.platform.place().global_arn("iam", "root")),
        r#type: Some("user".into()),
    }
}
