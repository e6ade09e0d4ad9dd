//! An account in which templates become stacks.

use crate::leftovers;
use crate::shell::Shell;
use crate::stage::{EXE, block_on, request};
use quarry_aws::cloudformation::DescribeStacksInput;
use quarry_aws::cloudformation::op::DescribeStacks;
use quarry_client::Client;
use quarry_testkit::{Platform, image, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

/// The image of every service: a program that answers on the ports 8080 and 8081.
const DOCKERFILE: &str = "FROM scratch\nCOPY peer /peer\nENV PORT=8080 ALSO=8081\nENTRYPOINT [\"/peer\"]\n";

/// An account that is bootstrapped for the CDK, with the image `app:latest`.
pub struct Account {
    pub platform: Platform,
    pub aws: Client,
    pub shell: Shell,
    /// The image's whole name.
    pub image: String,
}

impl Account {
    pub fn open() -> Self {
        let platform = Platform::start(EXE).unwrap();
        let shell = Shell::new(&platform);
        // What `cdk bootstrap` leaves, as far as templates look at it.
        shell.aws_ok("ssm put-parameter --name /cdk-bootstrap/hnb659fds/version --type String --value 21");
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("peer");
        image::compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/peer.rs")), &program).unwrap();
        let built = image::built(DOCKERFILE, "peer", &program).unwrap();
        let image = platform.push("app", "latest", built).unwrap();
        let aws = platform.client().unwrap();
        Self { platform, aws, shell, image }
    }

    /// Begins to make a stack of a template, or to change it.
    pub fn begin(&self, verb: &str, stack: &str, template: &str, parameters: &[(&str, &str)]) {
        let parameters: Vec<String> =
            parameters.iter().map(|(key, value)| format!("ParameterKey={key},ParameterValue={value}")).collect();
        let given =
            if parameters.is_empty() { String::new() } else { format!("--parameters {}", parameters.join(" ")) };
        self.shell.aws_ok(&format!(
            "cloudformation {verb}-stack --stack-name {stack} --template-body file://{template} --capabilities CAPABILITY_IAM {given}"
        ));
    }

    pub fn status(&self, stack: &str) -> Option<String> {
        let input = DescribeStacksInput { stack_name: Some(stack.into()), ..Default::default() };
        let described = block_on(self.aws.call::<DescribeStacks>(input)).ok()?;
        described.stacks?.pop()?.stack_status
    }

    pub fn wait(&self, stack: &str, wanted: &str) {
        wait_for(&format!("{stack} is {wanted}"), || {
            let status = self.status(stack)?;
            let failed = status.contains("ROLLBACK") || status.contains("FAILED");
            assert!(!failed, "{stack}: {}", self.failures(stack));
            (status == wanted).then_some(())
        });
    }

    fn failures(&self, stack: &str) -> Value {
        let query = "StackEvents[?contains(ResourceStatus,'FAILED')].[LogicalResourceId,ResourceStatusReason]";
        self.shell.aws_ok(&format!("cloudformation describe-stack-events --stack-name {stack} --query \"{query}\""))
    }

    /// Asks a stack's load balancer, on port 80, until it answers with this status; the body.
    pub fn ask(&self, stack: &str, path: &str, wanted: u16) -> String {
        let balancer = self.shell.aws_text(&format!(
            "cloudformation describe-stack-resources --stack-name {stack} --query \
             \"StackResources[?ResourceType=='AWS::ElasticLoadBalancingV2::LoadBalancer'].PhysicalResourceId | [0]\""
        ));
        self.ask_balancer(&balancer, path, wanted)
    }

    /// Asks the load balancer of this ARN likewise.
    pub fn ask_balancer(&self, arn: &str, path: &str, wanted: u16) -> String {
        let (address, host) = self.address(arn);
        wait_for(&format!("{arn} answers {wanted} to {path}"), || {
            request(address, &host, "GET", path, None, "").filter(|(status, _)| *status == wanted).map(|(_, body)| body)
        })
    }

    /// Where the load balancer of this ARN listens for port 80, and the Host to ask for.
    pub fn address(&self, arn: &str) -> (SocketAddr, String) {
        let name = arn.split('/').nth(2).unwrap().to_owned();
        wait_for("the load balancer listens", || {
            let listing: Value = serde_json::from_slice(&self.platform.quarry(&["ls", "--json"]).ok()?.stdout).ok()?;
            let listeners = listing["load_balancers"].as_array()?;
            let listener = listeners.iter().find(|l| l["name"] == name.as_str() && l["port"] == 80)?;
            let authority = listener["urls"][1].as_str()?.split('/').nth(2)?.to_owned();
            let address = if authority.contains(':') { authority.clone() } else { format!("{authority}:80") };
            Some((address.parse().ok()?, authority))
        })
    }

    /// The physical id of a stack's resource, once it has one.
    pub fn physical(&self, stack: &str, logical: &str) -> String {
        let query = format!("StackResources[?LogicalResourceId=='{logical}'].PhysicalResourceId | [0]");
        wait_for(&format!("{logical} of {stack} is there"), || {
            let told = self
                .shell
                .aws_text(&format!("cloudformation describe-stack-resources --stack-name {stack} --query \"{query}\""));
            (!told.is_empty() && told != "None").then_some(told)
        })
    }

    pub fn delete(&self, stack: &str) {
        self.shell.aws_ok(&format!("cloudformation delete-stack --stack-name {stack}"));
    }

    pub fn wait_gone(&self, stack: &str) {
        wait_for(&format!("{stack} is gone"), || match self.status(stack) {
            None => Some(()),
            Some(status) => {
                assert_ne!(status, "DELETE_FAILED", "{stack}: {}", self.failures(stack));
                None
            }
        });
    }

    /// What there is of what the templates make and do not retain.
    pub fn inventory(&self) -> BTreeSet<(&'static str, String)> {
        let mut seen = leftovers::seen(&self.platform);
        seen.retain(|(kind, _)| *kind != "DescribeLogGroups");
        seen
    }
}
