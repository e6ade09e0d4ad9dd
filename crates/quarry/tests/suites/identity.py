"""IAM and STS."""

import json

from clients import scenarios

STEPS, step = scenarios()


def trust(**principal):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


TASKS = trust(Service="ecs-tasks.amazonaws.com")
READ = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:Get*", "Resource": "*"}]})
LIST = READ.replace("Get*", "List*")
MANAGED = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"


@step("a role, its policies and tags")
def _(aws):
    iam = aws.iam
    role = iam.CreateRole(RoleName="suite", AssumeRolePolicyDocument=TASKS, Description="a")["Role"]
    aws.wait("iam", "role_exists", RoleName="suite")
    assert any(r["Arn"] == role["Arn"] for r in iam.ListRoles()["Roles"])
    iam.UpdateRole(RoleName="suite", MaxSessionDuration=7200)
    iam.UpdateRoleDescription(RoleName="suite", Description="b")
    found = iam.GetRole(RoleName="suite")["Role"]
    assert (found["MaxSessionDuration"], found["Description"]) == (7200, "b"), found
    iam.UpdateAssumeRolePolicy(RoleName="suite", PolicyDocument=trust(Service="ec2.amazonaws.com"))
    iam.PutRolePolicy(RoleName="suite", PolicyName="inline", PolicyDocument=READ)
    assert iam.GetRolePolicy(RoleName="suite", PolicyName="inline")["PolicyDocument"] == json.loads(READ)
    assert iam.ListRolePolicies(RoleName="suite")["PolicyNames"] == ["inline"]
    iam.AttachRolePolicy(RoleName="suite", PolicyArn=MANAGED)
    attached = iam.ListAttachedRolePolicies(RoleName="suite")["AttachedPolicies"]
    assert [p["PolicyArn"] for p in attached] == [MANAGED], attached
    aws.refused("DeleteConflict", iam.DeleteRole, RoleName="suite")
    iam.DetachRolePolicy(RoleName="suite", PolicyArn=MANAGED)
    iam.DeleteRolePolicy(RoleName="suite", PolicyName="inline")
    iam.TagRole(RoleName="suite", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.UntagRole(RoleName="suite", TagKeys=["b"])
    assert iam.ListRoleTags(RoleName="suite")["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.DeleteRole(RoleName="suite")
    aws.refused("NoSuchEntity", iam.GetRole, RoleName="suite")


@step("a managed policy and its versions")
def _(aws):
    iam = aws.iam
    arn = iam.CreatePolicy(PolicyName="suite", PolicyDocument=READ)["Policy"]["Arn"]
    aws.wait("iam", "policy_exists", PolicyArn=arn)
    iam.CreatePolicyVersion(PolicyArn=arn, PolicyDocument=LIST)
    iam.SetDefaultPolicyVersion(PolicyArn=arn, VersionId="v2")
    assert iam.GetPolicy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    assert iam.GetPolicyVersion(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == json.loads(LIST)
    iam.DeletePolicyVersion(PolicyArn=arn, VersionId="v1")
    assert [v["VersionId"] for v in iam.ListPolicyVersions(PolicyArn=arn)["Versions"]] == ["v2"]
    assert [p["Arn"] for p in iam.ListPolicies(Scope="Local")["Policies"] if p["PolicyName"] == "suite"] == [arn]
    iam.TagPolicy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert iam.ListPolicyTags(PolicyArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.UntagPolicy(PolicyArn=arn, TagKeys=["a"])
    iam.CreateRole(RoleName="bounded", AssumeRolePolicyDocument=TASKS)
    iam.PutRolePermissionsBoundary(RoleName="bounded", PermissionsBoundary=arn)
    iam.AttachRolePolicy(RoleName="bounded", PolicyArn=arn)
    entities = iam.ListEntitiesForPolicy(PolicyArn=arn)
    assert [r["RoleName"] for r in entities["PolicyRoles"]] == ["bounded"], entities
    iam.DetachRolePolicy(RoleName="bounded", PolicyArn=arn)
    iam.DeleteRolePermissionsBoundary(RoleName="bounded")
    iam.DeleteRole(RoleName="bounded")
    iam.DeletePolicy(PolicyArn=arn)


@step("instance profiles")
def _(aws):
    iam = aws.iam
    iam.CreateRole(RoleName="instances", AssumeRolePolicyDocument=trust(Service="ec2.amazonaws.com"))
    iam.CreateInstanceProfile(InstanceProfileName="suite")
    aws.wait("iam", "instance_profile_exists", InstanceProfileName="suite")
    iam.AddRoleToInstanceProfile(InstanceProfileName="suite", RoleName="instances")
    found = iam.GetInstanceProfile(InstanceProfileName="suite")["InstanceProfile"]
    assert found["Roles"][0]["RoleName"] == "instances", found
    assert any(p["InstanceProfileName"] == "suite" for p in iam.ListInstanceProfiles()["InstanceProfiles"])
    of_role = iam.ListInstanceProfilesForRole(RoleName="instances")["InstanceProfiles"]
    assert [p["InstanceProfileName"] for p in of_role] == ["suite"], of_role
    iam.TagInstanceProfile(InstanceProfileName="suite", Tags=[{"Key": "a", "Value": "1"}])
    assert iam.ListInstanceProfileTags(InstanceProfileName="suite")["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.UntagInstanceProfile(InstanceProfileName="suite", TagKeys=["a"])
    iam.RemoveRoleFromInstanceProfile(InstanceProfileName="suite", RoleName="instances")
    iam.DeleteInstanceProfile(InstanceProfileName="suite")
    iam.DeleteRole(RoleName="instances")


@step("service-linked roles, the user, aliases")
def _(aws):
    iam = aws.iam
    iam.CreateServiceLinkedRole(AWSServiceName="ecs.application-autoscaling.amazonaws.com")
    task = iam.DeleteServiceLinkedRole(RoleName="AWSServiceRoleForApplicationAutoScaling_ECSService")["DeletionTaskId"]
    assert iam.GetServiceLinkedRoleDeletionStatus(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    iam.GetUser()
    assert iam.ListAccountAliases()["AccountAliases"] == []


@step("a user, his policies and keys")
def _(aws):
    iam = aws.iam
    user = iam.CreateUser(UserName="suite", Path="/team/")["User"]
    aws.wait("iam", "user_exists", UserName="suite")
    assert user["Arn"].endswith(":user/team/suite"), user
    assert [u["UserName"] for u in iam.ListUsers(PathPrefix="/team/")["Users"]] == ["suite"]
    iam.TagUser(UserName="suite", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.UntagUser(UserName="suite", TagKeys=["b"])
    assert iam.ListUserTags(UserName="suite")["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.PutUserPolicy(UserName="suite", PolicyName="inline", PolicyDocument=READ)
    assert iam.GetUserPolicy(UserName="suite", PolicyName="inline")["PolicyDocument"] == json.loads(READ)
    assert iam.ListUserPolicies(UserName="suite")["PolicyNames"] == ["inline"]
    iam.AttachUserPolicy(UserName="suite", PolicyArn=MANAGED)
    attached = iam.ListAttachedUserPolicies(UserName="suite")["AttachedPolicies"]
    assert [p["PolicyArn"] for p in attached] == [MANAGED], attached
    iam.PutUserPermissionsBoundary(UserName="suite", PermissionsBoundary=MANAGED)
    iam.DeleteUserPermissionsBoundary(UserName="suite")
    key = iam.CreateAccessKey(UserName="suite")["AccessKey"]
    of_user = iam.ListAccessKeys(UserName="suite")["AccessKeyMetadata"]
    assert [k["AccessKeyId"] for k in of_user] == [key["AccessKeyId"]], of_user
    used = iam.GetAccessKeyLastUsed(AccessKeyId=key["AccessKeyId"])
    assert used["AccessKeyLastUsed"]["ServiceName"] == "N/A", used
    iam.UpdateAccessKey(UserName="suite", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert iam.ListGroupsForUser(UserName="suite")["Groups"] == []
    iam.UpdateUser(UserName="suite", NewUserName="renamed")
    aws.refused("DeleteConflict", iam.DeleteUser, UserName="renamed")
    iam.DeleteAccessKey(UserName="renamed", AccessKeyId=key["AccessKeyId"])
    iam.DetachUserPolicy(UserName="renamed", PolicyArn=MANAGED)
    iam.DeleteUserPolicy(UserName="renamed", PolicyName="inline")
    iam.DeleteUser(UserName="renamed")
    aws.refused("NoSuchEntity", iam.GetUser, UserName="renamed")


@step("a group, its users and policies")
def _(aws):
    iam = aws.iam
    group = iam.CreateGroup(GroupName="suite", Path="/team/")["Group"]
    assert group["Arn"].endswith(":group/team/suite"), group
    assert [g["GroupName"] for g in iam.ListGroups(PathPrefix="/team/")["Groups"]] == ["suite"]
    iam.PutGroupPolicy(GroupName="suite", PolicyName="inline", PolicyDocument=READ)
    assert iam.GetGroupPolicy(GroupName="suite", PolicyName="inline")["PolicyDocument"] == json.loads(READ)
    assert iam.ListGroupPolicies(GroupName="suite")["PolicyNames"] == ["inline"]
    iam.AttachGroupPolicy(GroupName="suite", PolicyArn=MANAGED)
    attached = iam.ListAttachedGroupPolicies(GroupName="suite")["AttachedPolicies"]
    assert [p["PolicyArn"] for p in attached] == [MANAGED], attached
    iam.CreateUser(UserName="member")
    iam.AddUserToGroup(GroupName="suite", UserName="member")
    assert [u["UserName"] for u in iam.GetGroup(GroupName="suite")["Users"]] == ["member"]
    iam.UpdateGroup(GroupName="suite", NewGroupName="renamed")
    assert [g["GroupName"] for g in iam.ListGroupsForUser(UserName="member")["Groups"]] == ["renamed"]
    aws.refused("DeleteConflict", iam.DeleteUser, UserName="member")
    aws.refused("DeleteConflict", iam.DeleteGroup, GroupName="renamed")
    iam.RemoveUserFromGroup(GroupName="renamed", UserName="member")
    iam.DeleteUser(UserName="member")
    iam.DetachGroupPolicy(GroupName="renamed", PolicyArn=MANAGED)
    iam.DeleteGroupPolicy(GroupName="renamed", PolicyName="inline")
    iam.DeleteGroup(GroupName="renamed")
    aws.refused("NoSuchEntity", iam.GetGroup, GroupName="renamed")


@step("the event history")
def _(aws):
    aws.iam.CreateUser(UserName="looked-up")
    aws.iam.DeleteUser(UserName="looked-up")
    by = lambda key, value: [{"AttributeKey": key, "AttributeValue": value}]
    found = aws.cloudtrail.LookupEvents(LookupAttributes=by("ResourceName", "looked-up"))["Events"]
    # The newest first; others may have done the same before.
    assert [event["EventName"] for event in found[:2]] == ["DeleteUser", "CreateUser"], found
    event = found[1]
    assert (event["Username"], event["ReadOnly"], event["EventSource"]) == ("root", "false", "iam.amazonaws.com"), event
    assert event["Resources"] == [{"ResourceType": "AWS::IAM::User", "ResourceName": "looked-up"}], event
    record = json.loads(event["CloudTrailEvent"])
    assert (record["eventID"], record["requestParameters"]) == (event["EventId"], {"userName": "looked-up"}), record
    same = aws.cloudtrail.LookupEvents(LookupAttributes=by("EventId", event["EventId"]))["Events"]
    assert [e["EventId"] for e in same] == [event["EventId"]], same
    aws.refused("InvalidTimeRangeException", aws.cloudtrail.LookupEvents, StartTime=2000, EndTime=1000)
    two = by("EventName", "CreateUser") + by("Username", "root")
    aws.refused("InvalidLookupAttributesException", aws.cloudtrail.LookupEvents, LookupAttributes=two)


@step("roles are assumed")
def _(aws):
    account = aws.sts.GetCallerIdentity()["Account"]
    role = aws.iam.CreateRole(RoleName="taken-on", AssumeRolePolicyDocument=trust(AWS=f"arn:aws:iam::{account}:root"))
    keys = aws.sts.AssumeRole(RoleArn=role["Role"]["Arn"], RoleSessionName="suite", DurationSeconds=900)["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA"), keys["AccessKeyId"]
    closed = aws.iam.CreateRole(RoleName="closed", AssumeRolePolicyDocument=TASKS)["Role"]["Arn"]
    aws.refused("AccessDenied", aws.sts.AssumeRole, RoleArn=closed, RoleSessionName="suite")
    for name in ("taken-on", "closed"):
        aws.iam.DeleteRole(RoleName=name)
