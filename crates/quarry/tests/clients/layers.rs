//! An image layer by layer over the ECR API, with boto3, and downloaded again by the URL alone.

use crate::EXE;
use crate::registry::image;
use crate::shell::{Shell, said};
use quarry_testkit::{Platform, client_program};

#[test]
fn boto3_uploads_layers_in_parts_and_downloads_them() {
    let Some(python) = client_program("python3") else { return };
    let Some(_) = client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    if let Err(why) = said(shell.command(&python).args(["-c", "import boto3"]).output().unwrap()) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "boto3 not found, and CI=true: {why}");
        println!("skipped: boto3 not found");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let built = image(dir.path());
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("manifest", &built.manifest);
    write("config", &built.config);
    let [layer] = &built.layers[..] else { panic!("{} layers", built.layers.len()) };
    write("layer", &layer.bytes);
    let mut command = shell.command(&python);
    command.arg("crates/quarry/tests/clients/layers.py").arg(dir.path());
    said(command.output().unwrap()).unwrap_or_else(|why| panic!("{why}\nserve said:\n{}", platform.log()));
    let uri = shell.aws_text(
        "ecr describe-images --repository-name api --image-ids imageTag=v1 --query imageDetails[0].imageDigest",
    );
    assert_eq!(uri, built.digest);
}
