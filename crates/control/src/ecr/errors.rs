//! ECR's error codes, as functions from what went wrong to the error.

use quarry_domain::arn::Place;
use quarry_domain::image::CatalogError;
use quarry_wire::ServiceError;

pub fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameterException", message, 400)
}

pub fn refuse(code: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(code, message, 400)
}

pub fn repository_not_found(place: &Place, name: &str) -> ServiceError {
    refuse(
        "RepositoryNotFoundException",
        format!("The repository with name '{name}' does not exist in the registry with id '{}'", place.account),
    )
}

pub fn no_policy(place: &Place, name: &str) -> ServiceError {
    refuse(
        "RepositoryPolicyNotFoundException",
        format!(
            "Repository policy does not exist for the repository with name '{name}' in the registry with id '{}'",
            place.account
        ),
    )
}

/// The API's error for one of the catalogue.
pub fn from_catalog(place: &Place, error: CatalogError) -> ServiceError {
    let id = &place.account;
    match error {
        CatalogError::NoRepository(name) => repository_not_found(place, &name),
        CatalogError::RepositoryExists(name) => refuse(
            "RepositoryAlreadyExistsException",
            format!("The repository with name '{name}' already exists in the registry with id '{id}'"),
        ),
        CatalogError::NotEmpty(name) => refuse(
            "RepositoryNotEmptyException",
            format!(
                "The repository with name '{name}' in registry with id '{id}' cannot be deleted because it still contains images"
            ),
        ),
        CatalogError::NoImage(message) => refuse("ImageNotFoundException", message),
        CatalogError::TagImmutable(message) => refuse("ImageTagAlreadyExistsException", message),
        CatalogError::Invalid(message) => invalid(message),
        CatalogError::Io(error) => ServiceError::new("ServerException", error.to_string(), 500),
    }
}
