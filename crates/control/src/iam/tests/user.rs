//! Users and their keys, through the endpoint as clients ask it.

use super::ALLOW;
use crate::audit::tests::{Stage, stage};
use quarry_wire::sigv4::Credentials;
use serde_json::{Value, json};

const ADA: &str = "arn:aws:iam::000000000000:user/team/ada";

/// Asks as the account itself; it must be answered.
pub fn done(stage: &Stage, operation: &str, input: Value) -> String {
    let (status, body) = stage.call(Some(&stage.root), "iam", operation, input);
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

/// Why it is refused.
pub fn refused(stage: &Stage, by: &Credentials, service: &str, operation: &str, input: Value) -> (u16, String, String) {
    let (status, body) = stage.call(Some(by), service, operation, input);
    assert!(status >= 400, "{operation}: {body}");
    let (code, message) = match serde_json::from_str::<Value>(&body) {
        Ok(json) => {
            let code = json["__type"].as_str().unwrap().rsplit('#').next().unwrap().to_owned();
            (code, json["message"].as_str().or(json["Message"].as_str()).unwrap_or_default().to_owned())
        }
        Err(_) => (between(&body, "Code"), between(&body, "Message")),
    };
    (status, code, message)
}

pub fn between(body: &str, name: &str) -> String {
    let after = body.split(&format!("<{name}>")).nth(1).unwrap_or_else(|| panic!("no {name} in {body}"));
    after.split('<').next().unwrap().to_owned()
}

pub fn key(body: &str) -> Credentials {
    Credentials {
        access_key_id: between(body, "AccessKeyId"),
        secret_access_key: between(body, "SecretAccessKey"),
        session_token: None,
    }
}

fn with_ada() -> (Stage, Credentials) {
    let stage = stage();
    let made = done(&stage, "CreateUser", json!({"UserName": "ada", "Path": "/team/"}));
    assert_eq!(between(&made, "Arn"), ADA);
    let key = key(&done(&stage, "CreateAccessKey", json!({"UserName": "ada"})));
    assert!(key.access_key_id.starts_with("AKIA") && key.access_key_id.len() == 20);
    (stage, key)
}

fn allow(stage: &Stage, statements: Value) {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    done(stage, "PutUserPolicy", json!({"UserName": "ada", "PolicyName": "inline", "PolicyDocument": document}));
}

#[test]
fn a_user_s_key_does_what_his_policies_allow() {
    let (stage, ada) = with_ada();
    let ask = |service: &str, operation: &str, input: Value| stage.call(Some(&ada), service, operation, input);
    let (status, identity) = ask("sts", "GetCallerIdentity", json!({}));
    assert_eq!((status, between(&identity, "Arn").as_str()), (200, ADA));
    let id = between(&identity, "UserId");
    assert!(id.starts_with("AIDA") && id.len() == 21, "{id}");

    let clusters = || refused(&stage, &ada, "ecs", "ListClusters", json!({}));
    let words = format!(
        "User: {ADA} is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action"
    );
    assert_eq!(clusters(), (400, "AccessDeniedException".into(), words));
    let own = "arn:aws:iam::*:user/team/${aws:username}";
    allow(
        &stage,
        json!([
            {"Effect": "Allow", "Action": "ecs:List*", "Resource": "*"},
            {"Effect": "Allow", "Action": ["iam:*AccessKey*", "iam:GetUser"], "Resource": own},
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*",
             "Condition": {"StringEquals": {"aws:PrincipalType": "User", "aws:userid": id}}},
        ]),
    );
    assert_eq!(ask("ecs", "ListClusters", json!({})).0, 200);
    assert_eq!(between(&ask("iam", "GetUser", json!({})).1, "UserName"), "ada");

    // His own keys, named or not, and nobody else's; two at most.
    let second = key(&ask("iam", "CreateAccessKey", json!({})).1);
    let listed = ask("iam", "ListAccessKeys", json!({"UserName": "ada"})).1;
    assert!(listed.contains(&ada.access_key_id) && listed.contains(&second.access_key_id));
    assert!(!listed.contains(&second.secret_access_key));
    assert_eq!(refused(&stage, &ada, "iam", "CreateAccessKey", json!({})).1, "LimitExceeded");
    done(&stage, "CreateUser", json!({"UserName": "bob"}));
    let of_bob = refused(&stage, &ada, "iam", "ListAccessKeys", json!({"UserName": "bob"}));
    assert_eq!((of_bob.0, of_bob.1.as_str()), (403, "AccessDenied"));
    assert!(of_bob.2.contains("on resource: user bob") || of_bob.2.contains(":user/bob"), "{}", of_bob.2);

    // A role whose trust policy names him.
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ADA}, "Action": "sts:AssumeRole"}]});
    for (name, trust) in [("open", trust.to_string()), ("closed", trust.to_string().replace("ada", "bob"))] {
        done(
            &stage,
            "CreateRole",
            json!({"RoleName": name, "AssumeRolePolicyDocument": trust, "MaxSessionDuration": 7200}),
        );
    }
    let assume = |role: &str| {
        json!({
            "RoleArn": format!("arn:aws:iam::000000000000:role/{role}"), "RoleSessionName": "s1", "DurationSeconds": 7200,
        })
    };
    assert_eq!(ask("sts", "AssumeRole", assume("open")).0, 200, "longer than an hour: no role is chained");
    // The policies of one account's identity and of the role's trust are both asked.
    assert_eq!(refused(&stage, &ada, "sts", "AssumeRole", assume("closed")).1, "AccessDenied");

    // A boundary bounds, and the simulator knows it all.
    let managed = json!({"PolicyName": "reads", "PolicyDocument": ALLOW.replace("ecs:*", "ecr:*")});
    let arn = between(&done(&stage, "CreatePolicy", managed), "Arn");
    done(&stage, "PutUserPermissionsBoundary", json!({"UserName": "ada", "PermissionsBoundary": arn}));
    assert!(clusters().2.ends_with("because no permissions boundary allows the ecs:ListClusters action"));
    let holders = done(&stage, "ListEntitiesForPolicy", json!({"PolicyArn": arn}));
    assert_eq!(between(&holders, "UserName"), "ada");
    let simulated = json!({"PolicySourceArn": ADA, "ActionNames": ["ecs:ListClusters"]});
    assert_eq!(between(&done(&stage, "SimulatePrincipalPolicy", simulated.clone()), "EvalDecision"), "implicitDeny");
    done(&stage, "DeleteUserPermissionsBoundary", json!({"UserName": "ada"}));
    assert_eq!(between(&done(&stage, "SimulatePrincipalPolicy", simulated), "EvalDecision"), "allowed");
    assert_eq!(ask("ecs", "ListClusters", json!({})).0, 200);
}

#[test]
fn keys_are_sealed_recorded_and_taken_out_of_use() {
    let (stage, ada) = with_ada();
    allow(&stage, json!([{"Effect": "Allow", "Action": "ecs:*", "Resource": "*"}]));
    let never = done(&stage, "GetAccessKeyLastUsed", json!({"AccessKeyId": ada.access_key_id}));
    assert_eq!((between(&never, "UserName"), between(&never, "ServiceName")), ("ada".into(), "N/A".into()));
    assert_eq!(stage.call(Some(&ada), "ecs", "CreateCluster", json!({"clusterName": "his"})).0, 200);
    let identity = stage.last()["userIdentity"].clone();
    assert_eq!((&identity["type"], &identity["userName"]), (&json!("IAMUser"), &json!("ada")));
    assert_eq!((&identity["arn"], &identity["accessKeyId"]), (&json!(ADA), &json!(ada.access_key_id)));
    let used = done(&stage, "GetAccessKeyLastUsed", json!({"AccessKeyId": ada.access_key_id}));
    assert_eq!((between(&used, "ServiceName"), between(&used, "Region")), ("ecs".into(), "us-east-1".into()));

    // Its secret is nowhere but in the one answer.
    assert!(!stage.log().contains(&ada.secret_access_key));
    for file in std::fs::read_dir(stage.world.dir()).unwrap().flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        let secret = ada.secret_access_key.as_bytes();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{:?} tells it", file.path());
    }

    let set = |status: &str| {
        let input = json!({"UserName": "ada", "AccessKeyId": ada.access_key_id, "Status": status});
        done(&stage, "UpdateAccessKey", input);
    };
    set("Inactive");
    assert!(done(&stage, "ListAccessKeys", json!({"UserName": "ada"})).contains("<Status>Inactive</Status>"));
    let code = |service: &str, operation: &str| {
        let (status, code, _) = refused(&stage, &ada, service, operation, json!({}));
        (status, code)
    };
    assert_eq!(code("sts", "GetCallerIdentity"), (403, "InvalidClientTokenId".into()));
    assert_eq!(code("ecs", "ListClusters"), (400, "UnrecognizedClientException".into()));
    set("Active");
    assert_eq!(stage.call(Some(&ada), "ecs", "ListClusters", json!({})).0, 200);
    let wrong = Credentials { secret_access_key: "of somebody else".into(), ..ada.clone() };
    assert_eq!(refused(&stage, &wrong, "sts", "GetCallerIdentity", json!({})).1, "SignatureDoesNotMatch");

    // With a new name the key is still his; without the key he is nobody.
    done(&stage, "UpdateUser", json!({"UserName": "ada", "NewUserName": "lovelace"}));
    let identity = stage.call(Some(&ada), "sts", "GetCallerIdentity", json!({})).1;
    assert_eq!(between(&identity, "Arn"), ADA.replace("ada", "lovelace"));
    assert_eq!(stage.call(Some(&ada), "ecs", "ListClusters", json!({})).0, 200);
    let delete = json!({"UserName": "lovelace"});
    let conflict = || refused(&stage, &stage.root, "iam", "DeleteUser", delete.clone());
    assert_eq!(conflict().2, "Cannot delete entity, must delete access keys first.");
    done(&stage, "DeleteAccessKey", json!({"UserName": "lovelace", "AccessKeyId": ada.access_key_id}));
    assert_eq!(code("sts", "GetCallerIdentity"), (403, "InvalidClientTokenId".into()));
    assert_eq!(conflict().2, "Cannot delete entity, must delete policies first.");
    done(&stage, "DeleteUserPolicy", json!({"UserName": "lovelace", "PolicyName": "inline"}));
    done(&stage, "DeleteUser", delete.clone());
    assert_eq!(conflict(), (404, "NoSuchEntity".into(), "The user with name lovelace cannot be found.".into()));
}

#[test]
fn users_are_named_once_whatever_the_case() {
    let (stage, _) = with_ada();
    let create = |name: &str| refused(&stage, &stage.root, "iam", "CreateUser", json!({"UserName": name}));
    assert_eq!(create("Ada").1, "EntityAlreadyExists");
    assert_eq!(create("not a name").1, "ValidationError");
    done(&stage, "CreateUser", json!({"UserName": "bob", "Tags": [{"Key": "team", "Value": "a"}]}));
    let rename = json!({"UserName": "bob", "NewUserName": "ADA"});
    assert_eq!(refused(&stage, &stage.root, "iam", "UpdateUser", rename).1, "EntityAlreadyExists");
    done(&stage, "TagUser", json!({"UserName": "bob", "Tags": [{"Key": "b", "Value": "1"}]}));
    done(&stage, "UntagUser", json!({"UserName": "bob", "TagKeys": ["team"]}));
    let tags = done(&stage, "ListUserTags", json!({"UserName": "bob"}));
    assert!(tags.contains("<Key>b</Key>") && !tags.contains("team"), "{tags}");
    let listed = done(&stage, "ListUsers", json!({"PathPrefix": "/team/"}));
    assert!(listed.contains(ADA) && !listed.contains("bob"), "{listed}");
    assert!(!done(&stage, "ListGroupsForUser", json!({"UserName": "bob"})).contains("member"));
    // Managed policies are counted, attached and taken away.
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    done(&stage, "AttachUserPolicy", json!({"UserName": "bob", "PolicyArn": arn}));
    assert!(done(&stage, "ListAttachedUserPolicies", json!({"UserName": "bob"})).contains(arn));
    let bob = key(&done(&stage, "CreateAccessKey", json!({"UserName": "bob"})));
    assert_eq!(stage.call(Some(&bob), "ecs", "ListClusters", json!({})).0, 200);
    done(&stage, "DetachUserPolicy", json!({"UserName": "bob", "PolicyArn": arn}));
    assert_eq!(refused(&stage, &bob, "ecs", "ListClusters", json!({})).1, "AccessDeniedException");
    assert_eq!(refused(&stage, &stage.root, "iam", "ListAccessKeys", json!({})).1, "ValidationError");
}
