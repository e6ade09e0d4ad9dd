//! Cuts: begun, gone on with, rolled back, finished, given up.

use super::{Call, Plan, Planned};
use crate::api::{Api, Data, Trouble};
use crate::cli::quoted;
use crate::form::{Form, encoded};
use crate::html::{self, table, text};
use maud::{Markup, html};
use quarry_client::cuts::{Ask, CutError, CutRequest, Cuts, ResumeRequest};
use serde_json::Value;

impl Call {
    /// A call of the API of cuts.
    fn of_cuts<F, R>(line: String, run: F) -> Self
    where
        F: Fn(Cuts) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, CutError>> + Send + 'static,
    {
        let run = std::sync::Arc::new(run);
        Self {
            line,
            run: Box::new(move |api| {
                let run = run.clone();
                Box::pin(async move { run(api.cuts()).await.map(drop).map_err(Trouble::from) })
            }),
        }
    }
}

/// Shows what the plan says of it.
pub async fn run(api: &Api, form: &Form) -> Planned {
    let request = request(form)?;
    let dry = CutRequest { dry_run: true, ..request.clone() };
    let notes = match api.cuts().create(&dry).await {
        Ok(plan) if plan.flag("refused") => return Err(refusals(&plan)),
        Ok(plan) => findings(&plan),
        Err(CutError::Planned { message, plan }) => {
            let all: Vec<String> = plan.findings.iter().map(|f| format!("{}: {}", f.what, f.message)).collect();
            return Err(format!("{message} {}", all.join(" ")));
        }
        Err(error) => return Err(error.to_string()),
    };
    let title = format!("Move {} from {} to {}", request.scope, request.from, request.to);
    let call = Call::of_cuts(line(&request), move |cuts| {
        let request = request.clone();
        async move { cuts.create(&request).await }
    });
    Ok(Plan::new(title, call, "The cut has begun.", "/cuts").noted(notes))
}

fn request(form: &Form) -> Result<CutRequest, String> {
    let paths = form.words("paths");
    if paths.is_empty() {
        return Err("The paths are missing.".into());
    }
    let share = form.number_if_given("canary", "The share")?.unwrap_or(0);
    let share = u32::try_from(share).ok().filter(|share| *share <= 100).ok_or("A share is 0 to 100 percent.")?;
    Ok(CutRequest {
        scope: form.needed("scope", "The scope")?.to_owned(),
        from: form.needed("from", "The old service")?.to_owned(),
        to: form.needed("to", "The new service")?.to_owned(),
        paths,
        data: (form.text("data") == "none").then(|| "none".to_owned()),
        until: form.given("until").map(str::to_owned),
        canary_percent: (share > 0).then_some(share),
        allow_empty: form.ticked("allow_empty"),
        ..CutRequest::default()
    })
}

/// The same in the words of `quarry cut`.
fn line(request: &CutRequest) -> String {
    let mut words = vec!["quarry cut run".to_owned(), quoted(&request.scope)];
    words.extend(["--from".to_owned(), quoted(&request.from), "--to".to_owned(), quoted(&request.to)]);
    for path in &request.paths {
        words.extend(["--path".to_owned(), quoted(path)]);
    }
    words.extend(request.data.as_ref().map(|_| "--no-data".to_owned()));
    words.extend(request.canary_percent.map(|share| format!("--canary {share}")));
    words.extend(request.until.as_ref().map(|until| format!("--until {}", until.to_lowercase())));
    words.extend(request.allow_empty.then(|| "--allow-empty".to_owned()));
    words.join(" ")
}

/// What stands in the way.
fn refusals(plan: &Value) -> String {
    let all = plan.list("findings").iter().filter(|finding| finding.text("severity") == "refusal");
    let all: Vec<String> = all.map(|f| format!("{}: {}.", f.text("what"), f.text("message"))).collect();
    format!("This cut cannot be made. {}", all.join(" "))
}

fn findings(plan: &Value) -> Markup {
    let rows = plan.list("findings").iter().map(|finding| {
        vec![
            text(finding.text("severity")),
            text(finding.text("side")),
            text(finding.text("what")),
            text(finding.text("message")),
        ]
    });
    html::section(
        "plan",
        "The plan",
        html! {
            p { "States to come: " (plan.texts("states").join(" → ")) "." }
            (table("Findings", &["Kind", "Side", "What", "Message"], rows.collect()))
        },
    )
}

pub fn resume(form: &Form) -> Planned {
    let id = form.needed("cut", "The cut")?.to_owned();
    let (accept_differences, allow_empty) = (form.ticked("accept_differences"), form.ticked("allow_empty"));
    let request = ResumeRequest { accept_differences, allow_empty, until: None };
    let mut line = format!("quarry cut resume {}", quoted(&id));
    line.push_str(if accept_differences { " --accept-differences" } else { "" });
    line.push_str(if allow_empty { " --allow-empty" } else { "" });
    let then = page(&id);
    let call = Call::of_cuts(line, move |cuts| {
        let (id, request) = (id.clone(), request.clone());
        async move { cuts.resume(&id, &request).await }
    });
    Ok(Plan::new("Go on with the cut", call, "It goes on.", then))
}

pub fn rollback(form: &Form) -> Planned {
    let plan = asked(form, Ask::Rollback, "rollback", "Roll the cut back")?;
    Ok(plan.warned("The old service gets the path again, with everything that was written on the new one."))
}

pub fn finish(form: &Form) -> Planned {
    let plan = asked(form, Ask::Finish, "finish", "Finish the cut")?;
    Ok(plan.warned("The old side's tables are retired, and there is no way back."))
}

pub fn abort(form: &Form) -> Planned {
    let plan = asked(form, Ask::Abort, "abort", "Abort the cut")?;
    Ok(plan.warned("It ends on the old service; what was copied to the new one stays unused."))
}

fn asked(form: &Form, ask: Ask, word: &str, title: &str) -> Planned {
    let id = form.needed("cut", "The cut")?.to_owned();
    let then = page(&id);
    let call = Call::of_cuts(format!("quarry cut {word} {}", quoted(&id)), move |cuts| {
        let id = id.clone();
        async move { cuts.ask(&id, ask).await }
    });
    Ok(Plan::new(title, call, "It was asked for.", then))
}

fn page(id: &str) -> String {
    format!("/cuts/{}", encoded(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_the_form_said() {
        let form = "scope=posts&from=demo%2Fapi&to=demo%2Fposts&paths=%2Fapi%2Fposts*&data=none&canary=10&until=SHADOW";
        let request = request(&Form::parse(form)).unwrap();
        assert_eq!(
            line(&request),
            "quarry cut run posts --from demo/api --to demo/posts --path '/api/posts*' --no-data --canary 10 --until shadow"
        );
        for wrong in ["scope=posts&from=a&to=b", "from=a&to=b&paths=/x", "scope=s&from=a&to=b&paths=/x&canary=101"] {
            assert!(super::request(&Form::parse(wrong)).is_err(), "{wrong}");
        }
    }
}
