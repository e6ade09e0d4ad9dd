//! CloudFormation templates of applications, environments and services, as YAML that a person can read.
//!
//! The same text deploys to Quarry and to AWS. What differs between the two is a parameter, and nothing else.

mod app;
mod environment;
mod overrides;
mod routing;
mod scaling;
mod service;
mod task;
pub(crate) mod yaml;

pub use app::{application, task_group};
pub use environment::environment;
pub use overrides::Misplaced;
pub use service::{Deployed, service};
pub use task::image_parameter;

/// Letters and digits of a name, each word begun with a capital: what logical ids may be made of.
fn logical(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect()
}
