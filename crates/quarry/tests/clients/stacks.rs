//! Stacks that change, under the aws CLI: change sets, updates, rollbacks, drift, and a kill in between.

use crate::EXE;
use crate::shell::Shell;
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::Value;
use std::path::PathBuf;

const FIRST: &str = "
Parameters: {Port: {Type: Number, Default: 80}}
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.3.0.0/16}}
  Subnet: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.3.1.0/24}}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: web
      VpcId: !Ref Vpc
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: !Ref Port, ToPort: !Ref Port, CidrIp: 0.0.0.0/0}]
  Gone: {Type: AWS::EC2::InternetGateway}
Outputs:
  Subnet: {Value: !Ref Subnet}
  Group: {Value: !GetAtt Group.GroupId, Export: {Name: web-group}}
";
/// Waits for a signal that only the test sends.
const WAITING: &str = "
  Launch:
    Type: AWS::AutoScaling::LaunchConfiguration
    Properties:
      ImageId: '{{resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id}}'
      InstanceType: t3.micro
  Fleet:
    Type: AWS::AutoScaling::AutoScalingGroup
    CreationPolicy: {ResourceSignal: {Count: 1, Timeout: PT15M}}
    Properties:
      LaunchConfigurationName: !Ref Launch
      MinSize: 0
      MaxSize: 0
      VPCZoneIdentifier: [!Ref Subnet]
Outputs:";

struct Stack<'a> {
    shell: &'a Shell,
    folder: PathBuf,
}

impl Stack<'_> {
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn read(&self) -> Value {
        self.shell.aws_ok("cloudformation describe-stacks --stack-name web --query Stacks[0]")
    }

    fn output(&self, key: &str) -> String {
        let stack = self.read();
        let found = stack["Outputs"].as_array().unwrap().iter().find(|o| o["OutputKey"] == key).cloned();
        found.unwrap()["OutputValue"].as_str().unwrap().to_owned()
    }

    fn until(&self, status: &str) {
        wait_for(status, || {
            let now = self.read()["StackStatus"].as_str().unwrap().to_owned();
            let ended = !now.ends_with("_IN_PROGRESS") && now != status;
            assert!(!ended, "{now}: {:#}", self.shell.aws_ok("cloudformation describe-stack-events --stack-name web --query StackEvents[].[LogicalResourceId,ResourceStatus,ResourceStatusReason]"));
            (now == status).then_some(())
        });
    }
}

#[test]
fn a_stack_is_changed_as_it_is_typed() {
    let Some(_) = client_program("aws") else { return };
    let mut platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let folder = platform.data_dir().join("templates");
    std::fs::create_dir_all(&folder).unwrap();
    let stack = Stack { shell: &shell, folder };

    let first = stack.file("first.yml", FIRST);
    shell.aws_ok(&format!("cloudformation create-stack --stack-name web --template-body file://{first}"));
    stack.until("CREATE_COMPLETE");
    let (subnet, group) = (stack.output("Subnet"), stack.output("Group"));

    // `deploy` without the last step, which would look again only after half a minute.
    let changed =
        FIRST.replace("10.3.1.0/24", "10.3.2.0/24").replace("  Gone: {Type: AWS::EC2::InternetGateway}\n", "");
    let changed = changed.replace("Outputs:", WAITING.trim_start_matches('\n'));
    let second = stack.file("second.yml", &changed);
    let deploy =
        format!("aws cloudformation deploy --stack-name web --template-file {second} --parameter-overrides Port=8080");
    shell.run(&format!("{deploy} --no-execute-changeset")).unwrap();
    let set = shell.aws_text("cloudformation list-change-sets --stack-name web --query Summaries[0].ChangeSetId");
    let described = shell.aws_ok(&format!("cloudformation describe-change-set --change-set-name {set}"));
    assert_eq!(described["ExecutionStatus"], "AVAILABLE");
    let changes: Vec<String> = described["Changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["ResourceChange"])
        .map(|c| {
            [&c["Action"], &c["LogicalResourceId"], &c["Replacement"]].map(|v| v.as_str().unwrap_or("-")).join(" ")
        })
        .collect();
    assert_eq!(
        changes,
        ["Add Fleet -", "Remove Gone -", "Modify Group False", "Add Launch -", "Modify Subnet True"],
        "{described:#}"
    );
    shell.aws_ok(&format!("cloudformation execute-change-set --change-set-name {set}"));

    // The group waits for its signal; meanwhile the control process dies and comes again.
    let fleet = || {
        shell.aws("cloudformation describe-stack-resource --stack-name web --logical-resource-id Fleet --query StackResourceDetail.PhysicalResourceId").ok()
    };
    let name = wait_for("the group is begun", || fleet()?.as_str().filter(|id| !id.is_empty()).map(str::to_owned));
    platform.kill_serve().unwrap();
    platform.restart_serve().unwrap();
    assert_eq!(stack.read()["StackStatus"], "UPDATE_IN_PROGRESS");
    shell.aws_ok(
        "cloudformation signal-resource --stack-name web --logical-resource-id Fleet --unique-id one --status SUCCESS",
    );
    stack.until("UPDATE_COMPLETE");
    shell.aws_ok("cloudformation wait stack-update-complete --stack-name web");
    let groups =
        shell.aws_ok("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[].AutoScalingGroupName");
    assert_eq!(groups, serde_json::json!([name]));
    assert_eq!(stack.output("Group"), group);
    assert_ne!(stack.output("Subnet"), subnet);
    let subnets = shell.aws_ok(
        "ec2 describe-subnets --filters Name=tag:aws:cloudformation:stack-name,Values=web --query Subnets[].CidrBlock",
    );
    assert_eq!(subnets, serde_json::json!(["10.3.2.0/24"]));
    let port = shell.aws_ok(&format!(
        "ec2 describe-security-groups --group-ids {group} --query SecurityGroups[0].IpPermissions[].FromPort"
    ));
    assert_eq!(port, serde_json::json!([8080]));

    // Once more, and there is nothing to do.
    let again = shell.run(&format!("{deploy} --no-fail-on-empty-changeset")).unwrap();
    assert!(again.contains("No changes to deploy. Stack web is up to date"), "{again}");
    let same = format!(
        "cloudformation update-stack --stack-name web --template-body file://{second} --parameters ParameterKey=Port,UsePreviousValue=true"
    );
    let said = shell.aws_refused(&same, "ValidationError");
    assert!(said.contains("No updates are to be performed."), "{said}");

    // A change that cannot be: the subnet lies outside its VPC.
    let third = stack.file(
        "third.yml",
        &changed
            .replace("10.3.2.0/24", "10.9.1.0/24")
            .replace("Port: {Type: Number, Default: 80}", "Port: {Type: Number, Default: 81}"),
    );
    let before = (stack.output("Subnet"), stack.output("Group"));
    shell.aws_ok(&format!("cloudformation update-stack --stack-name web --template-body file://{third}"));
    stack.until("UPDATE_ROLLBACK_COMPLETE");
    shell.aws_ok("cloudformation wait stack-rollback-complete --stack-name web");
    assert_eq!((stack.output("Subnet"), stack.output("Group")), before);
    let reason = shell.aws_text("cloudformation describe-stack-events --stack-name web --query \"StackEvents[?ResourceStatus=='UPDATE_ROLLBACK_IN_PROGRESS'].ResourceStatusReason | [0]\"");
    assert!(reason.starts_with("The following resource(s) failed to update: ["), "{reason}");
    let port = shell.aws_ok(&format!(
        "ec2 describe-security-groups --group-ids {group} --query SecurityGroups[0].IpPermissions[].FromPort"
    ));
    assert_eq!(port, serde_json::json!([8080]));

    // Nothing drifted, until somebody takes the rule away.
    let drift = || {
        let id = shell.aws_text("cloudformation detect-stack-drift --stack-name web --query StackDriftDetectionId");
        shell.aws_ok(&format!("cloudformation describe-stack-drift-detection-status --stack-drift-detection-id {id}"))["StackDriftStatus"].clone()
    };
    let drifts = || {
        shell.aws_ok("cloudformation describe-stack-resource-drifts --stack-name web --stack-resource-drift-status-filters MODIFIED DELETED")
    };
    assert_eq!(drift(), "IN_SYNC", "{:#}", drifts());
    shell.aws_ok(&format!(
        "ec2 revoke-security-group-ingress --group-id {group} --protocol tcp --port 8080 --cidr 0.0.0.0/0"
    ));
    assert_eq!(drift(), "DRIFTED");
    assert_eq!(drifts()["StackResourceDrifts"][0]["LogicalResourceId"], "Group");

    shell.aws_ok("cloudformation delete-stack --stack-name web");
    wait_for("the stack is gone", || {
        shell.aws("cloudformation describe-stacks --stack-name web").is_err().then_some(())
    });
}
