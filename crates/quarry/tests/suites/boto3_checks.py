"""The API as boto3 sees it, over all services: pages, waiters, errors, retries, tags, tokens, dry runs,
and what a signature must be.
"""

import datetime
import json
import time
import urllib.error
import urllib.request

import boto3
import botocore
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

CHECKS = []
SESSION = boto3.session.Session()
KEYS = SESSION.get_credentials().get_frozen_credentials()
REGION = SESSION.region_name
ENDPOINT = boto3.client("sts").meta.endpoint_url
TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
    '{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
)


def check(service, operation):
    def register(function):
        CHECKS.append((service, operation, function))
        return function

    return register


def refused(code, call, **arguments):
    """The error of a call that must be refused with a code."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error
    raise AssertionError(f"accepted, and should be {code}")


def pages(client, operation, key, size, **arguments):
    """All items of a listing with pages of a size, after a look at the pages."""
    found = list(client.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **arguments))
    assert all(len(page[key]) <= size for page in found), [len(page[key]) for page in found]
    return [item for page in found for item in page[key]], len(found)


def done(discovery, started):
    """The operation that was started, once it has ended well."""
    for _ in range(600):
        operation = discovery.get_operation(OperationId=started["OperationId"])["Operation"]
        if operation["Status"] in ("SUCCESS", "FAIL"):
            assert operation["Status"] == "SUCCESS", operation
            return operation
        time.sleep(0.1)
    raise AssertionError(f"not done: {operation}")


# ---- pages ------------------------------------------------------------------------------------------

@check("ecs", "ListClusters pages")
def _():
    ecs = boto3.client("ecs")
    made = [ecs.create_cluster(clusterName=f"page-{i}")["cluster"]["clusterArn"] for i in range(5)]
    items, count = pages(ecs, "list_clusters", "clusterArns", 2)
    assert set(made) <= set(items) and count >= 3 and len(set(items)) == len(items), (items, count)


@check("ecs", "ListTaskDefinitions pages")
def _():
    ecs = boto3.client("ecs")
    for _ in range(3):
        ecs.register_task_definition(
            family="page", containerDefinitions=[{"name": "a", "image": "a", "memory": 8}]
        )
    items, count = pages(ecs, "list_task_definitions", "taskDefinitionArns", 1, familyPrefix="page")
    assert len(items) == 3 and count >= 3, (items, count)


@check("ecr", "DescribeRepositories pages")
def _():
    ecr = boto3.client("ecr")
    for i in range(3):
        ecr.create_repository(repositoryName=f"page/r{i}")
    items, count = pages(ecr, "describe_repositories", "repositories", 1)
    assert {f"page/r{i}" for i in range(3)} <= {r["repositoryName"] for r in items} and count >= 3


@check("logs", "DescribeLogGroups pages")
def _():
    logs = boto3.client("logs")
    for i in range(3):
        logs.create_log_group(logGroupName=f"/page/{i}")
    items, count = pages(logs, "describe_log_groups", "logGroups", 1, logGroupNamePrefix="/page/")
    assert [g["logGroupName"] for g in items] == [f"/page/{i}" for i in range(3)] and count >= 3


@check("iam", "ListRoles pages")
def _():
    iam = boto3.client("iam")
    for i in range(3):
        iam.create_role(RoleName=f"page-{i}", AssumeRolePolicyDocument=TRUST, Path="/page/")
    items, count = pages(iam, "list_roles", "Roles", 1, PathPrefix="/page/")
    assert [r["RoleName"] for r in items] == [f"page-{i}" for i in range(3)] and count >= 3


@check("iam", "ListGroups and GetGroup pages")
def _():
    iam = boto3.client("iam")
    for i in range(3):
        iam.create_group(GroupName=f"page-{i}", Path="/page/")
        iam.create_user(UserName=f"page-{i}")
        iam.add_user_to_group(GroupName="page-0", UserName=f"page-{i}")
    items, count = pages(iam, "list_groups", "Groups", 1, PathPrefix="/page/")
    assert [g["GroupName"] for g in items] == [f"page-{i}" for i in range(3)] and count >= 3
    items, count = pages(iam, "get_group", "Users", 2, GroupName="page-0")
    assert [u["UserName"] for u in items] == [f"page-{i}" for i in range(3)] and count >= 2


@check("cloudtrail", "LookupEvents pages")
def _():
    ec2, begun = boto3.client("ec2"), datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    made = [ec2.create_vpc(CidrBlock=f"10.{60 + i}.0.0/16")["Vpc"]["VpcId"] for i in range(3)]
    by = [{"AttributeKey": "ResourceType", "AttributeValue": "AWS::EC2::VPC"}]
    items, count = pages(boto3.client("cloudtrail"), "lookup_events", "Events", 2, LookupAttributes=by, StartTime=begun)
    seen = [r["ResourceName"] for e in items for r in e["Resources"] if e["EventName"] == "CreateVpc"]
    # The newest first; other checks may have made some in the same second.
    assert [vpc for vpc in seen if vpc in made] == made[::-1] and count >= 2, (seen, made)


@check("ssm", "GetParametersByPath pages")
def _():
    ssm = boto3.client("ssm")
    for i in range(3):
        ssm.put_parameter(Name=f"/page/{i}", Value="v", Type="String")
    items, count = pages(ssm, "get_parameters_by_path", "Parameters", 1, Path="/page")
    assert len(items) == 3 and count >= 3


@check("ec2", "DescribeVpcs pages")
def _():
    ec2 = boto3.client("ec2")
    for i in range(6):
        ec2.create_vpc(CidrBlock=f"10.{40 + i}.0.0/16")
    items, count = pages(ec2, "describe_vpcs", "Vpcs", 5)
    assert len(items) >= 6 and count >= 2


@check("secretsmanager", "ListSecrets pages")
def _():
    secrets = boto3.client("secretsmanager")
    for i in range(3):
        secrets.create_secret(Name=f"page-{i}", SecretString="s")
    items, count = pages(secrets, "list_secrets", "SecretList", 1)
    assert len(items) >= 3 and count >= 3


@check("servicediscovery", "ListNamespaces pages")
def _():
    discovery = boto3.client("servicediscovery")
    for i in range(3):
        done(discovery, discovery.create_http_namespace(Name=f"page-{i}"))
    items, count = pages(discovery, "list_namespaces", "Namespaces", 1)
    assert len(items) >= 3 and count >= 3


@check("ecs", "ListClusters with a made-up token")
def _():
    refused("InvalidParameterException", boto3.client("ecs").list_clusters, nextToken="made-up")


# ---- waiters ----------------------------------------------------------------------------------------

@check("cloudformation", "stack_create_complete, stack_delete_complete")
def _():
    cloudformation = boto3.client("cloudformation")
    template = '{"Resources":{"C":{"Type":"AWS::ECS::Cluster"}}}'
    cloudformation.create_stack(StackName="waited", TemplateBody=template, ClientRequestToken="t-1")
    soon = {"Delay": 1, "MaxAttempts": 60}
    cloudformation.get_waiter("stack_create_complete").wait(StackName="waited", WaiterConfig=soon)
    cloudformation.delete_stack(StackName="waited")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="waited", WaiterConfig=soon)


@check("ec2", "vpc_exists, subnet_available")
def _():
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
    ec2.get_waiter("vpc_exists").wait(VpcIds=[vpc])
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.60.0.0/24")["Subnet"]["SubnetId"]
    ec2.get_waiter("subnet_available").wait(SubnetIds=[subnet])


@check("iam", "role_exists, policy_exists")
def _():
    iam = boto3.client("iam")
    iam.create_role(RoleName="waited", AssumeRolePolicyDocument=TRUST)
    iam.get_waiter("role_exists").wait(RoleName="waited")


# ---- errors -----------------------------------------------------------------------------------------

ERRORS = [
    ("ecs", "describe_services", {"cluster": "nobody", "services": ["a"]}, "ClusterNotFoundException"),
    ("ecs", "execute_command", {"task": "a", "command": "ls", "interactive": False}, "InvalidParameterException"),
    ("ecs", "run_task", {"taskDefinition": "a", "launchType": "SPACESHIP"}, "InvalidParameterException"),
    ("ecr", "describe_repositories", {"repositoryNames": ["nobody"]}, "RepositoryNotFoundException"),
    ("ecr", "create_repository", {"repositoryName": "Capital"}, "InvalidParameterException"),
    ("elbv2", "describe_load_balancers", {"Names": ["nobody"]}, "LoadBalancerNotFound"),
    ("elbv2", "create_rule", {"ListenerArn": "a", "Conditions": [], "Priority": 0, "Actions": []}, "ValidationError"),
    ("ec2", "describe_vpcs", {"VpcIds": ["vpc-00000000000000000"]}, "InvalidVpcID.NotFound"),
    ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/99"}, "InvalidParameterValue"),
    ("iam", "get_role", {"RoleName": "nobody"}, "NoSuchEntity"),
    ("iam", "get_role", {"RoleName": "a role"}, "ValidationError"),
    ("logs", "delete_log_group", {"logGroupName": "nobody"}, "ResourceNotFoundException"),
    ("logs", "create_log_group", {"logGroupName": "a b"}, "InvalidParameterException"),
    ("ssm", "get_parameter", {"Name": "/nobody"}, "ParameterNotFound"),
    ("secretsmanager", "get_secret_value", {"SecretId": "nobody"}, "ResourceNotFoundException"),
    ("servicediscovery", "get_namespace", {"Id": "ns-nobody"}, "NamespaceNotFound"),
    ("servicediscovery", "create_http_namespace", {"Name": "arn:a"}, "InvalidInput"),
    ("cloudformation", "describe_stacks", {"StackName": "nobody"}, "ValidationError"),
    ("autoscaling", "delete_auto_scaling_group", {"AutoScalingGroupName": "nobody"}, "ValidationError"),
    ("sts", "assume_role", {"RoleArn": "arn:aws:iam::000000000000:role/nobody", "RoleSessionName": "s1"}, "AccessDenied"),
]


def error_check(service, method, arguments, code):
    def run():
        # The server is asked, not the client's own model.
        client = boto3.client(service, config=Config(parameter_validation=False, retries={"max_attempts": 0}))
        error = refused(code, getattr(client, method), **arguments)
        modelled = [s for s in client.meta.service_model.operation_model(error.operation_name).error_shapes
                    if s.metadata.get("error", {}).get("code", s.name) == code]
        if modelled:
            assert type(error).__name__ == modelled[0].name, (type(error), modelled)

    return run


for _service, _method, _arguments, _code in ERRORS:
    CHECKS.append((_service, f"{_method} → {_code}", error_check(_service, _method, _arguments, _code)))


@check("ecs", "CreateTaskSet (not served)")
def _():
    error = refused("UnknownOperationException", boto3.client("ecs").create_task_set, cluster="c", service="s",
                    taskDefinition="t")
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@check("iam", "CreateLoginProfile (not served)")
def _():
    refused("InvalidAction", boto3.client("iam").create_login_profile, UserName="u", Password="p")


@check("ec2", "RunScheduledInstances (not served)")
def _():
    refused("InvalidAction", boto3.client("ec2").run_scheduled_instances, LaunchSpecification={"ImageId": "a"},
            ScheduledInstanceId="b")


# ---- tags, tokens, dry runs -------------------------------------------------------------------------

@check("ecs", "TagResource, UntagResource, ListTagsForResource")
def _():
    ecs = boto3.client("ecs")
    arn = ecs.create_cluster(clusterName="tagged", tags=[{"key": "a", "value": "1"}])["cluster"]["clusterArn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}, {"key": "a", "value": "3"}])
    ecs.untag_resource(resourceArn=arn, tagKeys=["b"])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "a", "value": "3"}]


@check("ec2", "CreateTags, DescribeTags, DeleteTags")
def _():
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "b"}])
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [vpc]}])["Tags"]
    assert [(t["Key"], t["Value"]) for t in tags] == [("a", "1")], tags


@check("ecr", "TagResource, ListTagsForResource")
def _():
    ecr = boto3.client("ecr")
    arn = ecr.create_repository(repositoryName="tagged")["repository"]["repositoryArn"]
    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "a", "Value": "1"}]


@check("logs", "StartLiveTail")
def _():
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/live")
    logs.create_log_stream(logGroupName="/live", logStreamName="one")
    arn = logs.describe_log_groups(logGroupNamePrefix="/live")["logGroups"][0]["logGroupArn"]
    answer = logs.start_live_tail(logGroupIdentifiers=[arn], logStreamNamePrefixes=["o"], logEventFilterPattern="?one ?two")
    stream = answer["responseStream"]
    events = iter(stream)
    start = next(events)["sessionStart"]
    assert (start["logGroupIdentifiers"], start["logStreamNamePrefixes"]) == ([arn], ["o"]), start
    assert start["requestId"] == answer["ResponseMetadata"]["RequestId"] and start["sessionId"], start
    now = int(time.time() * 1000)
    messages = [{"timestamp": now, "message": text} for text in ("one", "none", "two", "three")]
    logs.put_log_events(logGroupName="/live", logStreamName="one", logEvents=messages)
    seen, updates = [], 0
    for event in events:
        update = event["sessionUpdate"]
        assert update["sessionMetadata"] == {"sampled": False}, update
        seen += update["sessionResults"]
        updates += 1
        if len(seen) >= 3 or updates > 20:
            break
    stream.close()
    assert [(e["message"], e["timestamp"], e["logStreamName"]) for e in seen] == [
        ("one", now, "one"), ("none", now, "one"), ("two", now, "one")], seen
    for bad, code in [({"logGroupIdentifiers": ["nobody"]}, "ResourceNotFoundException"),
                      ({"logGroupIdentifiers": [arn + ":*"]}, "InvalidParameterException"),
                      ({"logGroupIdentifiers": [arn] * 11}, "InvalidParameterException")]:
        try:
            logs.start_live_tail(**bad)
        except ClientError as error:
            assert error.response["Error"]["Code"] == code, error
        else:
            raise AssertionError(f"accepted: {bad}")
    logs.delete_log_group(logGroupName="/live")


@check("xray", "the X-Ray SDK for Python speaks to the daemon")
def _():
    try:
        from aws_xray_sdk.core import AWSXRayRecorder
        from aws_xray_sdk.core.sampling.connector import ServiceConnector
    except ImportError:
        print("skipped: aws_xray_sdk not found")
        return
    address = ENDPOINT.partition("://")[2]
    recorder = AWSXRayRecorder()
    recorder.configure(service="sdk", daemon_address=address, sampling=False)
    segment = recorder.begin_segment("sdk")
    segment.put_annotation("by", "datagram")
    recorder.begin_subsegment("inner")
    recorder.end_subsegment()
    recorder.end_segment()
    xray, deadline = boto3.client("xray"), time.time() + 30
    while not (traces := xray.batch_get_traces(TraceIds=[segment.trace_id])["Traces"]):
        assert time.time() < deadline, "the segment did not come"
        time.sleep(0.1)
    document = json.loads(traces[0]["Segments"][0]["Document"])
    assert (document["name"], document["annotations"]) == ("sdk", {"by": "datagram"}), document
    assert [s["name"] for s in document["subsegments"]] == ["inner"], document
    # By TCP it asks the daemon, without a signature, which requests to record.
    ip, _, port = address.partition(":")
    connector = ServiceConnector()
    connector.setup_xray_client(ip, port, None)
    rules = connector.fetch_sampling_rules()
    assert "Default" in [rule.name for rule in rules], rules
    targets, modified = connector.fetch_sampling_target(rules)
    assert targets["Default"]["rate"] == 0.05 and targets["Default"]["TTL"], targets
    # Nothing else is told without one.
    anonymous = boto3.client("xray", config=Config(signature_version=botocore.UNSIGNED))
    try:
        anonymous.get_groups()
    except ClientError as error:
        assert error.response["Error"]["Code"] == "MissingAuthenticationTokenException", error
    else:
        raise AssertionError("answered without a signature")


@check("logs", "TagResource, ListTagsForResource")
def _():
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="tagged", tags={"a": "1"})
    arn = logs.describe_log_groups(logGroupNamePrefix="tagged")["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"b": "2"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "1", "b": "2"}


@check("iam", "TagRole, ListRoleTags, UntagRole")
def _():
    iam = boto3.client("iam")
    iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=TRUST)
    iam.tag_role(RoleName="tagged", Tags=[{"Key": "a", "Value": "1"}])
    assert iam.list_role_tags(RoleName="tagged")["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.untag_role(RoleName="tagged", TagKeys=["a"])
    assert iam.list_role_tags(RoleName="tagged")["Tags"] == []


@check("secretsmanager", "CreateSecret twice with one token")
def _():
    secrets = boto3.client("secretsmanager")
    token = "0" * 32
    first = secrets.create_secret(Name="token", SecretString="s", ClientRequestToken=token)
    again = secrets.create_secret(Name="token", SecretString="s", ClientRequestToken=token)
    assert (first["ARN"], first["VersionId"]) == (again["ARN"], again["VersionId"])
    refused("ResourceExistsException", secrets.create_secret, Name="token", SecretString="another")


@check("servicediscovery", "CreateService twice: which one is there")
def _():
    discovery = boto3.client("servicediscovery")
    namespace = done(discovery, discovery.create_http_namespace(Name="token"))["Targets"]["NAMESPACE"]
    given = {"Name": "token", "NamespaceId": namespace, "CreatorRequestId": "one"}
    made = discovery.create_service(**given)["Service"]["Id"]
    error = refused("ServiceAlreadyExists", discovery.create_service, **given)
    assert error.response.get("ServiceId") == made, error.response


@check("ec2", "CreateVpc as a dry run")
def _():
    ec2 = boto3.client("ec2")
    before = len(ec2.describe_vpcs()["Vpcs"])
    error = refused("DryRunOperation", ec2.create_vpc, CidrBlock="10.62.0.0/16", DryRun=True)
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert len(ec2.describe_vpcs()["Vpcs"]) == before


# ---- signatures -------------------------------------------------------------------------------------

# Per protocol: service, the headers and body of a call that is right.
CALLS = {
    "json": ("ecs", "/", {"Content-Type": "application/x-amz-json-1.1",
                          "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}, b"{}"),
    "cbor": ("servicediscovery", "/service/Route53AutoNaming_v20170314/operation/ListNamespaces",
             {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, b"\xbf\xff"),
    "query": ("iam", "/", {"Content-Type": "application/x-www-form-urlencoded"},
              b"Action=ListRoles&Version=2010-05-08"),
    "ec2": ("ec2", "/", {"Content-Type": "application/x-www-form-urlencoded"},
            b"Action=DescribeVpcs&Version=2016-11-15"),
}
FAULTS = {
    "none": (200,) * 4,
    "another secret": ("InvalidSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"),
    "an altered body": ("InvalidSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"),
    "an old date": ("InvalidSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"),
    "another region": ("InvalidSignatureException", "InvalidSignatureException", 200, "AuthFailure"),
    "another service": ("InvalidSignatureException", "InvalidSignatureException", "InvalidAction", "InvalidAction"),
    "an unknown key": ("UnrecognizedClientException", "UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"),
    "a made-up token": ("UnrecognizedClientException", "UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"),
    "no signature": ("MissingAuthenticationTokenException", "MissingAuthenticationTokenException",
                     "MissingAuthenticationToken", "MissingAuthenticationToken"),
    "half a signature": ("IncompleteSignatureException", "IncompleteSignatureException", "IncompleteSignature",
                         "IncompleteSignature"),
}


def said(protocol, fault):
    """The code that a call with a fault is answered with; 200 when it goes well."""
    service, path, headers, body = CALLS[protocol]
    key, secret, token = KEYS.access_key, KEYS.secret_key, KEYS.token
    region = "us-east-1" if service == "iam" else REGION
    if fault == "another secret":
        secret = "guess"
    elif fault == "an unknown key":
        key = "AKIAIOSFODNN7EXAMPLE"
    elif fault == "a made-up token":
        token = "made-up"
    elif fault == "another region":
        region = "eu-north-1"
    elif fault == "another service":
        service = "sqs"
    request = botocore.awsrequest.AWSRequest("POST", ENDPOINT + path, headers=headers, data=body)
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, secret, token), service, region)
    if fault == "an old date":
        old = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(minutes=16)
        botocore.auth.get_current_datetime = lambda *_, **__: old
        try:
            signer.add_auth(request)
        finally:
            botocore.auth.get_current_datetime = CLOCK
    elif fault != "no signature":
        signer.add_auth(request)
    sent = dict(request.headers.items())
    if fault == "an altered body":
        body = body + (b" " if protocol == "json" else b"&MaxItems=1" if protocol != "cbor" else b"")
        body = b"\xa0" if protocol == "cbor" else body
    elif fault == "half a signature":
        sent["Authorization"] = sent["Authorization"].split(", SignedHeaders")[0]
    try:
        with urllib.request.urlopen(urllib.request.Request(ENDPOINT + path, body, sent, method="POST")) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        model = SESSION._session.get_service_model({"cbor": "servicediscovery"}.get(protocol, CALLS[protocol][0]))
        name = {"json": "json", "cbor": "smithy-rpc-v2-cbor", "query": "query", "ec2": "ec2"}[protocol]
        parser = botocore.parsers.create_parser(name)
        parsed = parser.parse({"status_code": error.code, "headers": {k.lower(): v for k, v in error.headers.items()},
                               "body": error.read()}, None)
        assert model and parsed["Error"]["Code"], parsed
        return parsed["Error"]["Code"]


def signature_check(protocol, fault, wanted):
    def run():
        found = said(protocol, fault)
        assert found == wanted, f"{found}, not {wanted}"

    return run


CLOCK = botocore.auth.get_current_datetime
for _fault, _answers in FAULTS.items():
    for _protocol, _wanted in zip(CALLS, _answers):
        CHECKS.append((CALLS[_protocol][0], f"{_protocol} with {_fault} → {_wanted}",
                       signature_check(_protocol, _fault, _wanted)))


@check("sts", "GetCallerIdentity by a presigned URL, and after it was altered")
def _():
    url = boto3.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    with urllib.request.urlopen(url) as answer:
        assert b"GetCallerIdentityResult" in answer.read()
    for altered, code in [(url + "&Extra=1", b"SignatureDoesNotMatch"),
                          (url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), b"SignatureDoesNotMatch")]:
        try:
            urllib.request.urlopen(altered)
            raise AssertionError(f"accepted: {altered}")
        except urllib.error.HTTPError as error:
            body = error.read()
            assert code in body, body


@check("sts", "AssumeRole, and calls with its credentials")
def _():
    role = boto3.client("iam").create_role(RoleName="assumed", AssumeRolePolicyDocument=TRUST.replace(
        '"Service":"ecs-tasks.amazonaws.com"', '"AWS":"*"'))["Role"]["Arn"]
    keys = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="s1")["Credentials"]
    given = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
    arn = boto3.client("sts", aws_session_token=keys["SessionToken"], **given).get_caller_identity()["Arn"]
    assert arn.endswith("assumed-role/assumed/s1"), arn
    refused("InvalidClientTokenId", boto3.client("sts", aws_session_token="x", **given).get_caller_identity)


@check("iam", "a role may do what its policies allow, and nothing else")
def _():
    iam, trust = boto3.client("iam"), TRUST.replace('"Service":"ecs-tasks.amazonaws.com"', '"AWS":"*"')
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:*:*:parameter/reader/*"}
    iam.put_role_policy(RoleName="reader", PolicyName="one", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [allowed]}))
    for name in ("/reader/url", "/other/url"):
        boto3.client("ssm").put_parameter(Name=name, Value="http://a", Type="String")

    def client(service, **given):
        keys = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="s1", **given)["Credentials"]
        return boto3.client(service, aws_access_key_id=keys["AccessKeyId"], aws_session_token=keys["SessionToken"],
                            aws_secret_access_key=keys["SecretAccessKey"])

    assert client("ssm").get_parameter(Name="/reader/url")["Parameter"]["Value"] == "http://a"
    error = refused("AccessDeniedException", client("ssm").get_parameter, Name="/other/url")
    assert "assumed-role/reader/s1 is not authorized to perform: ssm:GetParameter on resource: arn:aws:ssm:" in str(error)
    assert str(error).endswith("because no identity-based policy allows the ssm:GetParameter action"), error
    for code, service, operation, members in [
        ("AccessDeniedException", "ecs", "list_clusters", {}),
        ("AccessDeniedException", "secretsmanager", "get_secret_value", {"SecretId": "a"}),
        ("AccessDeniedException", "ecr", "get_authorization_token", {}),
        ("AccessDenied", "iam", "list_roles", {}),
        ("AccessDenied", "cloudformation", "list_stacks", {}),
        ("AccessDenied", "elbv2", "describe_load_balancers", {}),
        ("AccessDenied", "sts", "assume_role", {"RoleArn": role.replace("reader", "nobody"), "RoleSessionName": "s1"}),
        ("UnauthorizedOperation", "ec2", "describe_vpcs", {}),
    ]:
        refused(code, getattr(client(service), operation), **members)
    bounded = client("ssm", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "ssm:*", "Resource": "*"}]}))
    error = refused("AccessDeniedException", bounded.get_parameter, Name="/reader/url")
    assert str(error).endswith("with an explicit deny in a session policy"), error
    assert iam.get_role(RoleName="reader")["Role"]["RoleLastUsed"]["Region"], "it was used"
    iam.delete_role_policy(RoleName="reader", PolicyName="one")
    refused("AccessDeniedException", client("ssm").get_parameter, Name="/reader/url")
    iam.delete_role(RoleName="reader")
    boto3.client("ssm").delete_parameters(Names=["/reader/url", "/other/url"])


@check("ecs", "a refused call is not tried again")
def _():
    error = refused("ClusterNotFoundException", boto3.client("ecs").list_tasks, cluster="nobody")
    assert error.response["ResponseMetadata"]["RetryAttempts"] == 0
