//! Groups: who is in them may what they may, as clients ask it.

use super::ALLOW;
use super::user::{between, done, key, refused};
use crate::audit::tests::{Stage, stage};
use quarry_wire::sigv4::Credentials;
use serde_json::{Value, json};

const READERS: &str = "arn:aws:iam::000000000000:group/team/readers";

/// A group, and a user who is in none.
fn with_readers() -> (Stage, Credentials) {
    let stage = stage();
    let made = done(&stage, "CreateGroup", json!({"GroupName": "readers", "Path": "/team/"}));
    assert_eq!(between(&made, "Arn"), READERS);
    let id = between(&made, "GroupId");
    assert!(id.starts_with("AGPA") && id.len() == 21, "{id}");
    done(&stage, "CreateUser", json!({"UserName": "ada"}));
    let key = key(&done(&stage, "CreateAccessKey", json!({"UserName": "ada"})));
    (stage, key)
}

fn put(stage: &Stage, name: &str, effect: &str, action: &str) {
    let document =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]});
    let input = json!({"GroupName": "readers", "PolicyName": name, "PolicyDocument": document.to_string()});
    done(stage, "PutGroupPolicy", input);
}

fn membership() -> Value {
    json!({"GroupName": "readers", "UserName": "ada"})
}

/// How often a member of this name is in an answer.
fn count(body: &str, name: &str) -> usize {
    body.matches(&format!("<{name}>")).count()
}

#[test]
fn a_user_may_what_his_groups_may_while_he_is_in_them() {
    let (stage, ada) = with_readers();
    let clusters = || stage.call(Some(&ada), "ecs", "ListClusters", json!({}));
    let why = || refused(&stage, &ada, "ecs", "ListClusters", json!({})).2;
    put(&stage, "reads", "Allow", "ecs:List*");
    assert!(why().ends_with("because no identity-based policy allows the ecs:ListClusters action"));
    done(&stage, "AddUserToGroup", membership());
    assert_eq!(clusters().0, 200, "he is allowed through the group alone");

    // A group that denies, denies also what his own policies allow.
    let own = json!({"UserName": "ada", "PolicyName": "own", "PolicyDocument": ALLOW});
    done(&stage, "PutUserPolicy", own);
    put(&stage, "stop", "Deny", "ecs:ListClusters");
    assert!(why().ends_with("with an explicit deny in an identity-based policy"), "{}", why());
    let simulated =
        json!({"PolicySourceArn": "arn:aws:iam::000000000000:user/ada", "ActionNames": ["ecs:ListClusters"]});
    let said = done(&stage, "SimulatePrincipalPolicy", simulated.clone());
    assert_eq!(between(&said, "EvalDecision"), "explicitDeny");
    assert_eq!(between(&said, "SourcePolicyId"), "group_readers_stop");
    done(&stage, "DeleteGroupPolicy", json!({"GroupName": "readers", "PolicyName": "stop"}));
    done(&stage, "DeleteUserPolicy", json!({"UserName": "ada", "PolicyName": "own"}));
    assert_eq!(clusters().0, 200);

    // With new names of both he is still in it.
    done(&stage, "UpdateGroup", json!({"GroupName": "readers", "NewGroupName": "Lookers", "NewPath": "/"}));
    done(&stage, "UpdateUser", json!({"UserName": "ada", "NewUserName": "lovelace"}));
    assert_eq!(clusters().0, 200);
    let of = done(&stage, "ListGroupsForUser", json!({"UserName": "lovelace"}));
    assert_eq!(between(&of, "Arn"), "arn:aws:iam::000000000000:group/Lookers");
    let group = json!({"PolicySourceArn": between(&of, "Arn"), "ActionNames": ["ecs:ListClusters", "ecs:RunTask"]});
    let said = done(&stage, "SimulatePrincipalPolicy", group);
    assert!(said.contains(">allowed<") && said.contains(">implicitDeny<"), "{said}");

    let membership = json!({"GroupName": "Lookers", "UserName": "lovelace"});
    done(&stage, "RemoveUserFromGroup", membership.clone());
    let denied = refused(&stage, &ada, "ecs", "ListClusters", json!({}));
    assert_eq!((denied.0, denied.1.as_str()), (400, "AccessDeniedException"));
    done(&stage, "RemoveUserFromGroup", membership);
}

#[test]
fn groups_have_managed_policies_that_count() {
    let (stage, ada) = with_readers();
    let managed = json!({"PolicyName": "all", "Path": "/x/", "PolicyDocument": ALLOW});
    let arn = between(&done(&stage, "CreatePolicy", managed), "Arn");
    let policy = json!({"GroupName": "readers", "PolicyArn": arn});
    done(&stage, "AttachGroupPolicy", policy.clone());
    done(&stage, "AddUserToGroup", membership());
    assert_eq!(stage.call(Some(&ada), "ecs", "ListClusters", json!({})).0, 200);
    assert_eq!(between(&done(&stage, "GetPolicy", json!({"PolicyArn": arn})), "AttachmentCount"), "1");
    let holders =
        |filter: &str| done(&stage, "ListEntitiesForPolicy", json!({"PolicyArn": arn, "EntityFilter": filter}));
    assert_eq!(between(&holders("Group"), "GroupName"), "readers");
    assert_eq!(count(&holders("User"), "GroupName"), 0);
    let attached =
        |prefix: &str| done(&stage, "ListAttachedGroupPolicies", json!({"GroupName": "readers", "PathPrefix": prefix}));
    assert_eq!((count(&attached("/x/"), "PolicyArn"), count(&attached("/y/"), "PolicyArn")), (1, 0));
    assert_eq!(refused(&stage, &stage.root, "iam", "DeletePolicy", json!({"PolicyArn": arn})).1, "DeleteConflict");
    done(&stage, "DetachGroupPolicy", policy.clone());
    assert_eq!(refused(&stage, &ada, "ecs", "ListClusters", json!({})).1, "AccessDeniedException");
    assert_eq!(refused(&stage, &stage.root, "iam", "DetachGroupPolicy", policy).1, "NoSuchEntity");
    for at in 0..10 {
        let managed = json!({"PolicyName": format!("p{at}"), "PolicyDocument": ALLOW});
        let arn = between(&done(&stage, "CreatePolicy", managed), "Arn");
        done(&stage, "AttachGroupPolicy", json!({"GroupName": "readers", "PolicyArn": arn}));
    }
    let eleventh = json!({"GroupName": "readers", "PolicyArn": arn});
    let eleventh = refused(&stage, &stage.root, "iam", "AttachGroupPolicy", eleventh);
    assert_eq!(eleventh, (409, "LimitExceeded".into(), "Cannot exceed quota for PoliciesPerGroup: 10".into()));

    // What a user may do about groups is asked of the group's ARN.
    let allow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:*Group*", "Resource": READERS}]});
    let input = json!({"UserName": "ada", "PolicyName": "own", "PolicyDocument": allow.to_string()});
    done(&stage, "PutUserPolicy", input);
    assert_eq!(stage.call(Some(&ada), "iam", "GetGroup", json!({"GroupName": "readers"})).0, 200);
    let other = refused(&stage, &ada, "iam", "CreateGroup", json!({"GroupName": "other"}));
    assert!(other.2.contains("on resource: arn:aws:iam::000000000000:group/other because"), "{}", other.2);
}

#[test]
fn groups_are_listed_named_once_and_deleted_when_empty() {
    let (stage, _) = with_readers();
    let root = |operation: &str, input: Value| refused(&stage, &stage.root, "iam", operation, input);
    let exists = (409, "EntityAlreadyExists".into(), "Group with name READERS already exists.".into());
    assert_eq!(root("CreateGroup", json!({"GroupName": "READERS"})), exists);
    assert_eq!(root("CreateGroup", json!({"GroupName": "not a name"})).1, "ValidationError");
    done(&stage, "CreateGroup", json!({"GroupName": "writers"}));
    assert_eq!(
        root("UpdateGroup", json!({"GroupName": "writers", "NewGroupName": "Readers"})).1,
        "EntityAlreadyExists"
    );
    let none = (404, "NoSuchEntity".into(), "The group with name nobody cannot be found.".into());
    assert_eq!(root("AddUserToGroup", json!({"GroupName": "nobody", "UserName": "ada"})), none);
    assert_eq!(root("AddUserToGroup", json!({"GroupName": "readers", "UserName": "nobody"})).1, "NoSuchEntity");

    // Pages of groups and of users.
    let first = done(&stage, "ListGroups", json!({"MaxItems": 1}));
    assert_eq!((between(&first, "GroupName").as_str(), between(&first, "IsTruncated").as_str()), ("readers", "true"));
    let rest = done(&stage, "ListGroups", json!({"Marker": between(&first, "Marker")}));
    assert_eq!((between(&rest, "GroupName").as_str(), count(&rest, "GroupName")), ("writers", 1));
    assert_eq!(count(&done(&stage, "ListGroups", json!({"PathPrefix": "/team/"})), "GroupName"), 1);
    done(&stage, "CreateUser", json!({"UserName": "bob"}));
    for user in ["ada", "bob", "bob"] {
        done(&stage, "AddUserToGroup", json!({"GroupName": "readers", "UserName": user}));
    }
    let first = done(&stage, "GetGroup", json!({"GroupName": "readers", "MaxItems": 1}));
    assert_eq!((between(&first, "UserName").as_str(), between(&first, "GroupName").as_str()), ("ada", "readers"));
    let rest = done(&stage, "GetGroup", json!({"GroupName": "readers", "Marker": between(&first, "Marker")}));
    assert_eq!((between(&rest, "UserName").as_str(), count(&rest, "UserName")), ("bob", 1));

    // Ten groups are the most that a user is in.
    for at in 0..10 {
        let name = format!("g{at}");
        done(&stage, "CreateGroup", json!({"GroupName": name}));
        if at < 9 {
            done(&stage, "AddUserToGroup", json!({"GroupName": name, "UserName": "bob"}));
        }
    }
    let more = root("AddUserToGroup", json!({"GroupName": "g9", "UserName": "bob"}));
    assert_eq!(more, (409, "LimitExceeded".into(), "Cannot exceed quota for GroupsPerUser: 10".into()));

    let in_use = "Cannot delete entity, must remove users from group first.";
    assert_eq!(root("DeleteGroup", json!({"GroupName": "readers"})), (409, "DeleteConflict".into(), in_use.into()));
    assert_eq!(root("DeleteUser", json!({"UserName": "ada"})), (409, "DeleteConflict".into(), in_use.into()));
    for user in ["ada", "bob"] {
        done(&stage, "RemoveUserFromGroup", json!({"GroupName": "readers", "UserName": user}));
    }
    put(&stage, "reads", "Allow", "ecs:List*");
    let document = done(&stage, "GetGroupPolicy", json!({"GroupName": "readers", "PolicyName": "reads"}));
    assert!(between(&document, "PolicyDocument").contains("%22ecs%3AList%2A%22"), "{document}");
    assert_eq!(count(&done(&stage, "ListGroupPolicies", json!({"GroupName": "readers"})), "member"), 1);
    let delete = json!({"GroupName": "readers"});
    assert_eq!(root("DeleteGroup", delete.clone()).2, "Cannot delete entity, must delete policies first.");
    done(&stage, "DeleteGroupPolicy", json!({"GroupName": "readers", "PolicyName": "reads"}));
    let policy = root("GetGroupPolicy", json!({"GroupName": "readers", "PolicyName": "reads"}));
    assert_eq!(policy.2, "The group policy with name reads cannot be found.");
    done(&stage, "DeleteGroup", delete.clone());
    assert_eq!(root("DeleteGroup", delete).1, "NoSuchEntity");
}
