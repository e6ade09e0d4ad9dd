//! Users, their keys and groups by templates: what comes of them is asked as clients ask.

use super::reconcile::Reconciler;
use crate::audit::tests::{Stage, stage};
use quarry_wire::sigv4::Credentials;
use serde_json::{Value, json};

const USER: &str = "arn:aws:iam::000000000000:user/people/ada";

/// Asks as the account; the answer's text.
fn done(stage: &Stage, service: &str, operation: &str, input: Value) -> String {
    let (status, body) = stage.call(Some(&stage.root), service, operation, input);
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

fn texts(body: &str, name: &str) -> Vec<String> {
    let tag = format!("<{name}>");
    body.split(&tag).skip(1).map(|part| part.split('<').next().unwrap().to_owned()).collect()
}

fn describe(stage: &Stage) -> String {
    done(stage, "cloudformation", "DescribeStacks", json!({"StackName": "people"}))
}

/// Goes on until the stack rests; its status.
fn settled(stage: &Stage) -> String {
    let mut reconciler = Reconciler::default();
    for _ in 0..200 {
        let status = texts(&describe(stage), "StackStatus").remove(0);
        if !status.ends_with("_IN_PROGRESS") {
            return status;
        }
        reconciler.pass(&stage.world.platform, &stage.world.operations);
    }
    let events = done(stage, "cloudformation", "DescribeStackEvents", json!({"StackName": "people"}));
    panic!("the stack does not settle: {events}");
}

fn deploy(stage: &Stage, operation: &str, template: &Value) -> String {
    let input = json!({
        "StackName": "people", "TemplateBody": template.to_string(), "Capabilities": ["CAPABILITY_NAMED_IAM"],
    });
    done(stage, "cloudformation", operation, input);
    settled(stage)
}

fn delete(stage: &Stage) {
    done(stage, "cloudformation", "DeleteStack", json!({"StackName": "people"}));
    let mut reconciler = Reconciler::default();
    let gone = (0..200).any(|_| {
        reconciler.pass(&stage.world.platform, &stage.world.operations);
        stage.call(Some(&stage.root), "cloudformation", "DescribeStacks", json!({"StackName": "people"})).0 == 400
    });
    assert!(gone, "the stack is deleted");
}

fn output(stage: &Stage, key: &str) -> String {
    let body = describe(stage);
    let (keys, values) = (texts(&body, "OutputKey"), texts(&body, "OutputValue"));
    let at = keys.iter().position(|one| one == key).unwrap_or_else(|| panic!("no {key} in {body}"));
    values[at].clone()
}

fn key(stage: &Stage) -> Credentials {
    let (access_key_id, secret_access_key) = (output(stage, "Id"), output(stage, "Secret"));
    Credentials { access_key_id, secret_access_key, session_token: None }
}

fn allow(action: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})
}

fn people() -> Value {
    json!({
        "Resources": {
            "Ada": {"Type": "AWS::IAM::User", "Properties": {"UserName": "ada", "Path": "/people/"}},
            "Readers": {"Type": "AWS::IAM::Group", "Properties": {
                "Policies": [{"PolicyName": "reads", "PolicyDocument": allow("ecs:List*")}]}},
            "Members": {"Type": "AWS::IAM::UserToGroupAddition", "Properties": {
                "GroupName": {"Ref": "Readers"}, "Users": [{"Ref": "Ada"}]}},
            "Own": {"Type": "AWS::IAM::Policy", "Properties": {
                "PolicyName": "own", "PolicyDocument": allow("ecr:Describe*"), "Users": [{"Ref": "Ada"}]}},
            "Key": {"Type": "AWS::IAM::AccessKey", "Properties": {"UserName": {"Ref": "Ada"}}},
            "Kept": {"Type": "AWS::SecretsManager::Secret", "Properties": {
                "Name": "kept", "SecretString": {"Fn::Sub": "{\"secret\":\"${Key.SecretAccessKey}\"}"}}},
        },
        "Outputs": {
            "Id": {"Value": {"Ref": "Key"}},
            "Secret": {"Value": {"Fn::GetAtt": "Key.SecretAccessKey"}},
            "Arn": {"Value": {"Fn::GetAtt": "Ada.Arn"}},
            "Exported": {"Value": {"Fn::GetAtt": "Key.SecretAccessKey"}, "Export": {"Name": "secret"}},
        },
    })
}

#[test]
fn a_user_of_a_template_works_with_the_key_of_a_template() {
    let stage = stage();
    let mut template = people();
    assert_eq!(deploy(&stage, "CreateStack", &template), "CREATE_COMPLETE");
    assert_eq!(output(&stage, "Arn"), USER);
    let first = key(&stage);
    assert!(first.access_key_id.starts_with("AKIA") && first.secret_access_key.len() == 40, "{first:?}");
    assert_eq!(stage.call(Some(&first), "ecs", "ListClusters", json!({})).0, 200, "by his group");
    assert_eq!(stage.call(Some(&first), "ecr", "DescribeRepositories", json!({})).0, 200, "by his own policy");
    assert_eq!(stage.call(Some(&first), "ecs", "DescribeClusters", json!({})).0, 400);
    let kept = done(&stage, "secretsmanager", "GetSecretValue", json!({"SecretId": "kept"}));
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["SecretString"], json!({"secret": first.secret_access_key}).to_string());
    let exports = done(&stage, "cloudformation", "ListExports", json!({}));
    assert_eq!(texts(&exports, "Value"), [first.secret_access_key.as_str()]);

    // The secret is in clear nowhere but in these answers.
    let secret = first.secret_access_key.as_bytes();
    for file in std::fs::read_dir(stage.world.dir()).unwrap().flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{:?} tells it", file.path());
    }
    let events = done(&stage, "cloudformation", "DescribeStackEvents", json!({"StackName": "people"}));
    assert!(!events.contains(&first.secret_access_key) && !stage.log().contains(&first.secret_access_key));

    // In place: another path, a key that is not active, a group without him.
    template["Resources"]["Ada"]["Properties"]["Path"] = "/others/".into();
    template["Resources"]["Key"]["Properties"]["Status"] = "Inactive".into();
    assert_eq!(deploy(&stage, "UpdateStack", &template), "UPDATE_COMPLETE");
    assert_eq!(output(&stage, "Arn"), USER.replace("people", "others"));
    assert_eq!(output(&stage, "Id"), first.access_key_id);
    assert_eq!(stage.call(Some(&first), "ecs", "ListClusters", json!({})).0, 400);

    // A higher serial is another key, and who used the secret gets the new one. There is no way back.
    template["Resources"]["Key"]["Properties"] = json!({"UserName": {"Ref": "Ada"}, "Serial": 2});
    // An exported value that nobody imports may change.
    assert_eq!(deploy(&stage, "UpdateStack", &template), "UPDATE_COMPLETE");
    let second = key(&stage);
    assert_ne!(second.access_key_id, first.access_key_id);
    assert_eq!(stage.call(Some(&second), "ecs", "ListClusters", json!({})).0, 200);
    let listed = done(&stage, "iam", "ListAccessKeys", json!({"UserName": "ada"}));
    assert_eq!(texts(&listed, "AccessKeyId"), [second.access_key_id.as_str()], "the old one is gone");
    let kept = done(&stage, "secretsmanager", "GetSecretValue", json!({"SecretId": "kept"}));
    assert!(kept.contains(&second.secret_access_key), "{kept}");
    template["Resources"]["Key"]["Properties"]["Serial"] = 1.into();
    assert_eq!(deploy(&stage, "UpdateStack", &template), "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(key(&stage).access_key_id, second.access_key_id);

    delete(&stage);
    for operation in ["ListUsers", "ListGroups"] {
        assert!(!done(&stage, "iam", operation, json!({})).contains("<Arn>"), "{operation}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let stage = stage();
    let create = |template: &Value, capability: &str| {
        let input = json!({"StackName": "people", "TemplateBody": template.to_string(), "Capabilities": [capability]});
        stage.call(Some(&stage.root), "cloudformation", "CreateStack", input)
    };
    // A user whom the template names needs the stronger word.
    assert!(create(&people(), "CAPABILITY_IAM").1.contains("CAPABILITY_NAMED_IAM"));
    // A template cannot write a sealed value itself, nor hide one in base64.
    let mut written = people();
    written["Resources"]["Kept"]["Properties"]["SecretString"] = "{{resolve:sealed:AAAA}}".into();
    let (status, body) = create(&written, "CAPABILITY_NAMED_IAM");
    assert!(status == 400 && body.contains("Could not parse the dynamic reference"), "{body}");
    let mut joined = people();
    joined["Resources"]["Kept"]["Properties"]["SecretString"] =
        json!({"Fn::Join": [":", ["{{resolve", "sealed", "AAAA}}"]]});
    assert_eq!(deploy(&stage, "CreateStack", &joined), "ROLLBACK_COMPLETE");
    delete(&stage);
    let mut encoded = people();
    encoded["Resources"]["Kept"]["Properties"]["SecretString"] =
        json!({"Fn::Base64": {"Fn::GetAtt": "Key.SecretAccessKey"}});
    assert_eq!(deploy(&stage, "CreateStack", &encoded), "ROLLBACK_COMPLETE");
    let events = done(&stage, "cloudformation", "DescribeStackEvents", json!({"StackName": "people"}));
    assert!(events.contains("Fn::Base64 cannot encode an attribute that is a secret"), "{events}");
    delete(&stage);
    let mut of_nobody = people();
    of_nobody["Resources"]["Own"]["Properties"]["Users"] = json!([]);
    assert_eq!(deploy(&stage, "CreateStack", &of_nobody), "ROLLBACK_COMPLETE");
    let events = done(&stage, "cloudformation", "DescribeStackEvents", json!({"StackName": "people"}));
    assert!(events.contains("At least one of [Groups,Roles,Users] must be non-empty."), "{events}");
}
