//! Roles: who takes them, what they allow, when they were last used.

use super::Ctx;
use crate::api::{Api, Data, Told};
use crate::html::{self, Page, live, part, section, table, text};
use futures_util::future::{join, join_all, try_join_all};
use maud::{Markup, html};
use percent_encoding::percent_decode_str;
use quarry_aws::iam::op::{
    GetPolicy, GetPolicyVersion, GetRole, GetRolePolicy, ListAttachedRolePolicies, ListRolePolicies, ListRoles,
};
use serde_json::{Value, json};

/// Roles whose last use is asked for.
const ASKED: usize = 100;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let roles = ctx.api.all::<ListRoles>(json!({}), "Roles").await?;
    let of = roles.iter().take(ASKED).map(|role| ctx.api.ask::<GetRole>(json!({"RoleName": role.text("RoleName")})));
    let described = join_all(of).await;
    let rows = roles.iter().enumerate().map(|(i, role)| {
        let used = match described.get(i) {
            Some(Ok(one)) => last_use(one.at("Role")),
            Some(Err(_)) => text("not known"),
            None => text("see the role"),
        };
        vec![
            html::link_in("/roles", role.text("RoleName")),
            text(who(&document(role.text("AssumeRolePolicyDocument"))).join(", ")),
            used,
            html::when(role.time("CreateDate")),
        ]
    });
    let columns = ["Role", "Taken by", "Last use", "Created"];
    Ok(Page::new("Roles", live("all", "All roles", table("Roles", &columns, rows.collect()))))
}

fn last_use(role: &Value) -> Markup {
    match role.time("RoleLastUsed.LastUsedDate") {
        Some(at) => html::when(Some(at)),
        None => html! { span.quiet { "never seen" } },
    }
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<GetRole>(json!({"RoleName": name})).await?;
    let role = found.at("Role");
    let (inline, attached) = join(inline(ctx.api, name), attached(ctx.api, name)).await;
    let trust = document(role.text("AssumeRolePolicyDocument"));
    let policies = |told: &Told<Vec<(String, String)>>| {
        part(told, |all| {
            html! {
                @if all.is_empty() { p.none { "None." } }
                @for (name, document) in all { (html::folded(name, html::copied(name, document))) }
            }
        })
    };
    let body = html! {
        (live("role", "Role", html::facts(vec![
            ("Last use", last_use(role)),
            ("Taken by", text(who(&trust).join(", "))),
            ("Description", text(role.text("Description"))),
            ("Longest session in seconds", text(role.whole("MaxSessionDuration"))),
            ("Permissions boundary", html::code(role.text("PermissionsBoundary.PermissionsBoundaryArn"))),
            ("Created", html::when(role.time("CreateDate"))),
            ("ARN", html::code(role.text("Arn"))),
        ])))
        (section("trust", "Trust policy", html::copied("Trust policy", &pretty(&trust))))
        (section("attached", "Attached policies", policies(&attached)))
        (section("inline", "Inline policies", policies(&inline)))
    };
    Ok(Page::new(name, body).under("Roles", "/roles"))
}

/// Names and documents.
async fn inline(api: &Api, role: &str) -> Told<Vec<(String, String)>> {
    let names = api.all::<ListRolePolicies>(json!({"RoleName": role}), "PolicyNames").await?;
    let of = names.iter().filter_map(Value::as_str).map(|name| async move {
        let policy = api.ask::<GetRolePolicy>(json!({"RoleName": role, "PolicyName": name})).await?;
        Ok((name.to_owned(), pretty(&document(policy.text("PolicyDocument")))))
    });
    try_join_all(of).await
}

async fn attached(api: &Api, role: &str) -> Told<Vec<(String, String)>> {
    let policies = api.all::<ListAttachedRolePolicies>(json!({"RoleName": role}), "AttachedPolicies").await?;
    let of = policies.iter().map(|policy| async move {
        let arn = policy.text("PolicyArn");
        let found = api.ask::<GetPolicy>(json!({"PolicyArn": arn})).await?;
        let version = found.text("Policy.DefaultVersionId");
        let version = api.ask::<GetPolicyVersion>(json!({"PolicyArn": arn, "VersionId": version})).await?;
        Ok((policy.text("PolicyName").to_owned(), pretty(&document(version.text("PolicyVersion.Document")))))
    });
    try_join_all(of).await
}

/// IAM answers documents percent-encoded.
fn document(encoded: &str) -> Value {
    let text = percent_decode_str(encoded).decode_utf8_lossy();
    serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// The principals of a trust policy.
fn who(trust: &Value) -> Vec<String> {
    let statements = match trust.at("Statement") {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    let mut all = Vec::new();
    for principal in statements.iter().map(|statement| statement.at("Principal")) {
        let values: Vec<&Value> =
            principal.as_object().map_or_else(|| vec![principal], |kinds| kinds.values().collect());
        for value in values {
            all.extend(value.as_str().map(str::to_owned));
            all.extend(value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_found_in_every_form() {
        let one = document("%7B%22Statement%22%3A%7B%22Principal%22%3A%22%2A%22%7D%7D");
        assert_eq!(who(&one), ["*"]);
        let many = json!({"Statement": [{"Principal": {"Service": ["ecs.amazonaws.com", "ec2.amazonaws.com"]}},
            {"Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]});
        assert_eq!(who(&many), ["ecs.amazonaws.com", "ec2.amazonaws.com", "arn:aws:iam::000000000000:root"]);
    }
}
