//! AWS Certificate Manager: certificates that were imported, and those that the installation's own
//! authority issues.
//!
//! A requested certificate is issued at once: nobody's DNS is asked, and only who trusts
//! `certificate-authority.pem` of the data directory trusts it. The records by which AWS would
//! validate the domain are shown all the same, so that clients that make them go on. Private keys are
//! sealed by the [vault](crate::vault) and leave the store only sealed, for the proxy.

mod authority;
mod certificate;
mod find;
mod import;
mod listing;
pub mod records;
mod request;
mod tags;
mod view;

#[cfg(test)]
pub(crate) mod tests;

pub use find::{in_use, usable};

use crate::api::Operations;
use quarry_aws::acm::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::AddTagsToCertificate>(tags::add);
    operations.serve::<op::DeleteCertificate>(find::delete);
    operations.serve::<op::DescribeCertificate>(view::describe);
    operations.serve::<op::GetCertificate>(view::get);
    operations.serve::<op::ImportCertificate>(import::handle);
    operations.serve::<op::ListCertificates>(listing::list);
    operations.serve::<op::ListTagsForCertificate>(tags::list);
    operations.serve::<op::RemoveTagsFromCertificate>(tags::remove);
    operations.serve::<op::RequestCertificate>(request::handle);
    operations.serve::<op::UpdateCertificateOptions>(request::update_options);
}
