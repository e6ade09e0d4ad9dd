//! A project with Dockerfiles, a Quarry, and the commands typed in the project's directory.

use crate::stage::{EXE, block_on, request};
use quarry_aws::cloudformation::GetTemplateInput;
use quarry_aws::cloudformation::op::{DescribeStacks, GetTemplate};
use quarry_aws::ssm::PutParameterRequest;
use quarry_aws::ssm::op::{DescribeParameters, PutParameter};
use quarry_testkit::{Platform, image, wait_for};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub struct Project {
    dir: TempDir,
    platform: Platform,
    /// Further variables of the shell.
    shell: Vec<(String, String)>,
}

impl Project {
    /// A directory with a Dockerfile and the program of it in each of these.
    pub fn with(services: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = dir.path().join("speaker");
        image::compile(&root.join("tests/programs/speaker.rs"), &program).unwrap();
        for service in services {
            let at = dir.path().join(service);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::copy(&program, at.join("speaker")).unwrap();
            let dockerfile = "FROM scratch\nCOPY speaker /speaker\nEXPOSE 3000\nENTRYPOINT [\"/speaker\"]\n";
            std::fs::write(at.join("Dockerfile"), dockerfile).unwrap();
        }
        std::fs::remove_file(program).unwrap();
        // Alarms that may roll a deployment back are watched for three minutes after it.
        let platform = Platform::start_as(EXE, None, &["--scaling-speed", "60"]).unwrap();
        Self { dir, platform, shell: Vec::new() }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Sets a variable of the shell for all lines that follow.
    pub fn export(&mut self, name: &str, value: impl Into<String>) {
        self.shell.push((name.to_owned(), value.into()));
    }

    /// The address of this project's Quarry.
    pub fn endpoint(&self) -> &str {
        &self.platform.endpoint
    }

    /// Writes a program of the shell.
    pub fn program(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub fn log(&self) -> String {
        self.platform.log()
    }

    /// Types a line; what it printed, or all it said when it failed.
    pub fn run(&self, line: &str) -> Result<String, String> {
        judged(self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    /// Types a line and answers its questions.
    pub fn answer(&self, line: &str, answers: &[&str]) -> Result<String, String> {
        let mut child =
            self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{}\n", answers.join("\n")).as_bytes()).unwrap();
        judged(child.wait_with_output().unwrap())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(EXE);
        command.args(words(line)).current_dir(self.root()).env("QUARRY_DATA_DIR", self.platform.data_dir());
        command.env_remove("AWS_ENDPOINT_URL").envs(self.shell.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replaces something in a service's manifest.
    pub fn edit(&self, service: &str, from: &str, to: &str) {
        let path = self.root().join(format!("copilot/{service}/manifest.yml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// The URL by number at which a service's load balancer is on this machine, without a path.
    pub fn url(&self, service: &str) -> String {
        self.url_in("test", service)
    }

    pub fn url_in(&self, environment: &str, service: &str) -> String {
        let shown = self.run(&format!("svc show --name {service} --env {environment} --json")).unwrap();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let url = shown["deployed"][0]["urls"][1].as_str().unwrap_or_else(|| panic!("{shown}"));
        url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
    }

    pub fn get(&self, authority: &str, path: &str) -> Option<String> {
        let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        request(address.parse().unwrap(), authority, "GET", path, None, "").map(|(_, body)| body)
    }

    /// Waits until the first line of the answer is this one.
    pub fn answers(&self, authority: &str, path: &str, first: &str) {
        wait_for(first, || self.get(authority, path).filter(|body| body.lines().next() == Some(first)));
    }

    pub fn secret(&self, name: &str, value: &str) {
        let input = PutParameterRequest {
            name: Some(name.into()),
            value: Some(value.into()),
            r#type: Some("SecureString".into()),
            ..Default::default()
        };
        block_on(self.platform.client().unwrap().call::<PutParameter>(input)).unwrap();
    }

    /// Asserts the range in which a service is scaled.
    pub fn scales(&self, service: &str, min: i32, max: i32) {
        use quarry_aws::application_autoscaling::DescribeScalableTargetsRequest;
        use quarry_aws::application_autoscaling::op::DescribeScalableTargets;
        let input = DescribeScalableTargetsRequest { service_namespace: Some("ecs".into()), ..Default::default() };
        let found = block_on(self.platform.client().unwrap().call::<DescribeScalableTargets>(input)).unwrap();
        let targets = found.scalable_targets.unwrap();
        let [only] = targets.as_slice() else { panic!("{targets:?}") };
        assert!(only.resource_id.as_ref().unwrap().contains(service), "{only:?}");
        assert_eq!((only.min_capacity, only.max_capacity), (Some(min), Some(max)));
    }

    /// Cluster and name of the ECS service that begins so.
    pub fn running(&self, begins: &str) -> (String, String) {
        use quarry_aws::ecs::op::{ListClusters, ListServices};
        let aws = self.platform.client().unwrap();
        let clusters = block_on(aws.call::<ListClusters>(Default::default())).unwrap().cluster_arns.unwrap();
        for cluster in clusters {
            let input = quarry_aws::ecs::ListServicesRequest { cluster: Some(cluster), ..Default::default() };
            for arn in block_on(aws.call::<ListServices>(input)).unwrap().service_arns.unwrap() {
                let mut parts = arn.rsplit('/');
                let (name, cluster) = (parts.next().unwrap(), parts.next().unwrap());
                if name.starts_with(begins) {
                    return (cluster.to_owned(), name.to_owned());
                }
            }
        }
        panic!("no service begins with {begins}")
    }

    /// A stack's template.
    pub fn template(&self, stack: &str) -> String {
        template(&self.platform, stack)
    }

    /// Stacks and parameters that are there.
    pub fn left_over(&self) -> Vec<String> {
        left_over(&self.platform)
    }
}

pub fn template(platform: &Platform, stack: &str) -> String {
    let input = GetTemplateInput { stack_name: Some(stack.into()), ..Default::default() };
    block_on(platform.client().unwrap().call::<GetTemplate>(input)).unwrap().template_body.unwrap()
}

pub fn left_over(platform: &Platform) -> Vec<String> {
    let aws = platform.client().unwrap();
    let stacks = block_on(aws.call::<DescribeStacks>(Default::default())).unwrap().stacks.unwrap_or_default();
    let parameters = block_on(aws.call::<DescribeParameters>(Default::default())).unwrap().parameters;
    let parameters = parameters.unwrap_or_default().into_iter().filter_map(|parameter| parameter.name);
    let names = stacks.into_iter().filter_map(|stack| stack.stack_name).chain(parameters);
    names.filter(|name| name != "/shop/token").collect()
}

fn judged(output: Output) -> Result<String, String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// The words of a line with double quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (Vec::new(), false);
    for part in line.split('"') {
        match quoted {
            true => words.push(part.to_owned()),
            false => words.extend(part.split_whitespace().map(str::to_owned)),
        }
        quoted = !quoted;
    }
    words
}
