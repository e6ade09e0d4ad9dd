//! What a person does here: planned as calls, shown as lines of the command line, made when confirmed.

mod cloudformation;
mod cuts;
mod ecr;
mod ecs;
mod elbv2;
mod rules;

use crate::api::{Api, Told, Trouble};
use crate::cli;
use crate::form::Form;
use crate::html::{self, Page};
use futures_util::future::BoxFuture;
use maud::{Markup, html};
use quarry_wire::Operation;
use serde_json::Value;

/// What is wrong with a form, in a sentence.
pub type Planned = Result<Plan, String>;

/// A call to make.
pub struct Plan {
    title: String,
    /// What cannot be undone.
    warning: Option<String>,
    /// More to know before it is confirmed.
    notes: Option<Markup>,
    call: Call,
    /// What is said when all went well.
    done: String,
    /// The page to go to then.
    pub then: String,
    /// The page to go to where it is not confirmed, if `then` is not there without it.
    back: Option<String>,
}

/// One call, and the line that makes the same.
pub struct Call {
    line: String,
    run: Run,
}

type Run = Box<dyn Fn(Api) -> BoxFuture<'static, Told<()>> + Send + Sync>;

impl Plan {
    pub fn new(title: impl Into<String>, call: Call, done: impl Into<String>, then: impl Into<String>) -> Self {
        Self { title: title.into(), warning: None, notes: None, call, done: done.into(), then: then.into(), back: None }
    }

    #[must_use]
    pub fn warned(mut self, warning: impl Into<String>) -> Self {
        self.warning = Some(warning.into());
        self
    }

    #[must_use]
    pub fn noted(mut self, notes: Markup) -> Self {
        self.notes = Some(notes);
        self
    }

    #[must_use]
    pub fn back_to(mut self, page: impl Into<String>) -> Self {
        self.back = Some(page.into());
        self
    }

    /// Makes the call: what to say, or the plan again with why it was refused.
    pub async fn run(self, api: &Api) -> Result<String, (Self, Trouble)> {
        match (self.call.run)(api.clone()).await {
            Ok(()) => Ok(self.done),
            Err(refused) => Err((self, refused)),
        }
    }
}

impl Call {
    /// A call of an AWS operation.
    pub fn of<O: Operation>(input: Value) -> Self {
        let line = cli::line::<O>(&input);
        let run: Run = Box::new(move |api| {
            let input = input.clone();
            Box::pin(async move { api.ask::<O>(input).await.map(drop) })
        });
        Self { line, run }
    }
}

/// The plan of an action; nothing where there is none of this name.
pub async fn plan(name: &str, api: &Api, form: &Form) -> Option<Planned> {
    Some(match name {
        "create-service" => ecs::create_service(form),
        "update-service" => ecs::update_service(api, form).await,
        "delete-service" => ecs::delete_service(form),
        "stop-task" => ecs::stop_task(form),
        "deregister-task-definition" => ecs::deregister_task_definition(form),
        "delete-cluster" => ecs::delete_cluster(form),
        "create-rule" => rules::create(form),
        "modify-rule" => rules::modify(form),
        "modify-default" => rules::modify_default(form),
        "move-rule" => rules::relocate(api, form).await,
        "delete-rule" => rules::delete(form),
        "create-listener" => elbv2::create_listener(form),
        "delete-listener" => elbv2::delete_listener(form),
        "delete-load-balancer" => elbv2::delete_load_balancer(form),
        "access-log" => elbv2::access_log(form),
        "create-target-group" => elbv2::create_target_group(form),
        "delete-target-group" => elbv2::delete_target_group(form),
        "deregister-target" => elbv2::deregister_target(form),
        "create-repository" => ecr::create_repository(form),
        "delete-repository" => ecr::delete_repository(form),
        "delete-image" => ecr::delete_image(form),
        "delete-stack" => cloudformation::delete_stack(form),
        "cut-run" => cuts::run(api, form).await,
        "cut-resume" => cuts::resume(form),
        "cut-rollback" => cuts::rollback(form),
        "cut-finish" => cuts::finish(form),
        "cut-abort" => cuts::abort(form),
        _ => return None,
    })
}

/// The page that shows a plan and asks for the confirmation.
pub fn review(name: &str, token: &str, form: &Form, plan: &Plan, refused: Option<&Trouble>) -> Page {
    let kept = form.pairs().iter().filter(|(name, _)| name != "token" && name != "confirmed");
    let body = html! {
        @if let Some(refused) = refused { p.bad role="alert" { (refused) } }
        @if let Some(warning) = &plan.warning { p.wait { strong { (warning) } } }
        @if let Some(notes) = &plan.notes { (notes) }
        (html::section("call", "The call", html! {
            p.none { "The same from a shell:" }
            (html::copied("Command", &plan.call.line))
            form.action method="post" action={ "/do/" (name) } {
                input type="hidden" name="token" value=(token);
                input type="hidden" name="confirmed" value="yes";
                @for (name, value) in kept { input type="hidden" name=(name) value=(value); }
                button.main type="submit" { "Confirm" }
                a href=(plan.back.as_ref().unwrap_or(&plan.then)) { "Cancel" }
            }
        }))
    };
    Page::new(plan.title.clone(), body)
}
