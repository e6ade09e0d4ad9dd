//! The public parameters that templates ask for: the ECS-optimized machine images. An instance is
//! not booted from them, so each is a name of its own, the same in every installation.

use quarry_wire::hash::sha256;
use serde_json::json;

/// A machine image that exists by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicImage {
    /// `ami-` and 17 hexadecimal digits.
    pub id: String,
    /// As AWS names them.
    pub name: String,
    /// The part of the parameter's path: `amazon-linux-2`.
    pub distribution: &'static str,
    /// `Amazon Linux 2`.
    pub os: &'static str,
}

const ROOT: &str = "/aws/service/ecs/optimized-ami/";

/// The images that the parameters name.
pub fn images() -> Vec<PublicImage> {
    let image = |distribution, os, prefix: &str| {
        let hash = sha256(format!("{ROOT}{distribution}").as_bytes());
        PublicImage { id: format!("ami-{}", &hash[..17]), name: format!("{prefix}-quarry"), distribution, os }
    };
    vec![
        image("amazon-linux", "Amazon Linux", "amzn-ami-ecs-optimized"),
        image("amazon-linux-2", "Amazon Linux 2", "amzn2-ami-ecs-hvm-x86_64"),
        image("amazon-linux-2023", "Amazon Linux 2023", "al2023-ami-ecs-hvm-x86_64"),
    ]
}

/// Name and value of every public parameter, sorted by name.
pub fn parameters() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for image in images() {
        let base = format!("{ROOT}{}/recommended", image.distribution);
        let recommended = json!({
            "schema_version": 1,
            "image_name": image.name,
            "image_id": image.id,
            "os": image.os,
        });
        all.push((format!("{base}/image_id"), image.id));
        all.push((format!("{base}/image_name"), image.name));
        all.push((format!("{base}/os"), image.os.to_owned()));
        all.push((base, recommended.to_string()));
    }
    all.sort();
    all
}
