//! Repositories and images.

use super::{Call, Plan, Planned};
use crate::form::{Form, encoded};
use quarry_aws::ecr::op::{BatchDeleteImage, CreateRepository, DeleteRepository};
use serde_json::json;

pub fn create_repository(form: &Form) -> Planned {
    let name = form.needed("name", "The name")?;
    let call = Call::of::<CreateRepository>(json!({"repositoryName": name}));
    let then = format!("/repositories/{}", encoded(name));
    let plan = Plan::new(format!("Create the repository {name}"), call, format!("{name} is made."), then);
    Ok(plan.back_to("/repositories"))
}

pub fn delete_repository(form: &Form) -> Planned {
    let name = form.needed("repository", "The repository")?;
    let mut input = json!({"repositoryName": name});
    if form.ticked("force") {
        input["force"] = json!(true);
    }
    let title = format!("Delete the repository {name}");
    let plan = Plan::new(title, Call::of::<DeleteRepository>(input), format!("{name} is deleted."), "/repositories");
    Ok(plan.warned("Images that are deleted do not come back; tasks that need them could not start."))
}

pub fn delete_image(form: &Form) -> Planned {
    let (name, digest) = (form.needed("repository", "The repository")?, form.needed("digest", "The digest")?);
    let input = json!({"repositoryName": name, "imageIds": [{"imageDigest": digest}]});
    let then = format!("/repositories/{}", encoded(name));
    let plan = Plan::new("Delete an image", Call::of::<BatchDeleteImage>(input), "The image is deleted.", then);
    Ok(plan.warned("The image is deleted with all of its tags; tasks that need it could not start."))
}
