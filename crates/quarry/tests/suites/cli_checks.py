"""What is the aws CLI's own: output formats, queries, pages, JSON input, skeletons, shorthand, exit statuses, and the
commands that are more than one operation."""

import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time

from clients import scenarios

STEPS, step = scenarios()


def run(aws, line):
    """A command line without quoting, after `aws`."""
    return aws.run(*line.split())


@step("--output text and table")
def _(aws):
    run(aws, "ecs create-cluster --cluster-name printed")
    arn = json.loads(run(aws, "ecs describe-clusters --clusters printed"))["clusters"][0]["clusterArn"]
    text = run(aws, "ecs list-clusters --output text")
    assert f"CLUSTERARNS\t{arn}" in text.splitlines(), text
    table = run(aws, "ecs describe-clusters --clusters printed --output table")
    assert "|DescribeClusters|" in table.replace(" ", "") and arn in table, table
    run(aws, "ecs delete-cluster --cluster printed")


@step("--query")
def _(aws):
    run(aws, "ssm put-parameter --name /query --value v --type String")
    assert run(aws, "ssm get-parameter --name /query --query Parameter.Value --output text") == "v\n"
    found = json.loads(run(aws, "ssm describe-parameters --query Parameters[?Name=='/query'].[Name,Type]"))
    assert found == [["/query", "String"]], found
    run(aws, "ssm delete-parameter --name /query")


@step("--max-items, --page-size, --starting-token")
def _(aws):
    for i in range(5):
        run(aws, f"logs create-log-group --log-group-name /paged/{i}")
    listing = "logs describe-log-groups --log-group-name-prefix /paged/ --page-size 2"
    assert len(json.loads(run(aws, listing))["logGroups"]) == 5
    seen, token = [], ""
    while token is not None:
        page = json.loads(run(aws, f"{listing} --max-items 2 {token and '--starting-token ' + token}"))
        assert len(page["logGroups"]) <= 2, page
        seen += [g["logGroupName"] for g in page["logGroups"]]
        token = page.get("NextToken")
    assert seen == [f"/paged/{i}" for i in range(5)], seen
    assert "nextToken" in json.loads(run(aws, "logs describe-log-groups --log-group-name-prefix /paged/ --limit 2 --no-paginate"))
    for i in range(5):
        run(aws, f"logs delete-log-group --log-group-name /paged/{i}")


# Members that are given instead of the skeleton's own, which the CLI itself refuses as too short.
SKELETONS = [
    ("ecs", "create-cluster", {"clusterName": "skeleton"}, ("ecs", "delete-cluster", "--cluster", "skeleton")),
    ("ec2", "create-vpc", {"CidrBlock": "10.99.0.0/16"}, None),
    ("ssm", "put-parameter", {"Name": "/skeleton", "Value": "v", "Type": "String"},
     ("ssm", "delete-parameter", "--name", "/skeleton")),
    ("secretsmanager", "create-secret", {"Name": "skeleton", "SecretString": "s"},
     ("secretsmanager", "delete-secret", "--secret-id", "skeleton", "--force-delete-without-recovery")),
    ("logs", "create-log-group", {"logGroupName": "/skeleton"}, ("logs", "delete-log-group", "--log-group-name", "/skeleton")),
    ("servicediscovery", "create-http-namespace", {"Name": "skeleton"}, None),
]


def skeleton_check(service, command, members, after):
    def check(aws):
        skeleton = json.loads(run(aws, f"{service} {command} --generate-cli-skeleton"))
        assert set(members) <= set(skeleton), (members, skeleton)
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "input.json")
            with open(path, "w") as file:
                json.dump(members, file)
            aws.run(service, command, "--cli-input-json", f"file://{path}")
        if after:
            aws.run(*after)

    return check


for _service, _command, _members, _after in SKELETONS:
    STEPS.append((f"{_service} {_command}: --generate-cli-skeleton, --cli-input-json", skeleton_check(_service, _command, _members, _after)))


@step("shorthand, files and lists of words")
def _(aws):
    out = json.loads(run(aws, "ecs register-task-definition --family short --cpu 256 --memory 512 --container-definitions "
                              "name=web,image=web:v1,portMappings=[{containerPort=80}],memory=64 --tags key=a,value=1"))
    assert out["taskDefinition"]["containerDefinitions"][0]["portMappings"][0]["containerPort"] == 80, out
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "definition.json")
        with open(path, "w") as file:
            json.dump([{"name": "web", "image": "web:v1", "memory": 64}], file)
        out = json.loads(run(aws, f"ecs register-task-definition --family short --container-definitions file://{path}"))
    assert out["taskDefinition"]["revision"] == 2, out
    vpc = json.loads(run(aws, "ec2 create-vpc --cidr-block 10.99.0.0/16 --tag-specifications "
                              "ResourceType=vpc,Tags=[{Key=Name,Value=short}]"))["Vpc"]["VpcId"]
    found = run(aws, "ec2 describe-vpcs --filters Name=tag:Name,Values=short,other --query Vpcs[].VpcId --output text")
    assert found == f"{vpc}\n", found
    group = json.loads(run(aws, f"ec2 create-security-group --group-name short --description short --vpc-id {vpc}"))["GroupId"]
    out = json.loads(run(aws, f"ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 80 --cidr 0.0.0.0/0"))
    assert out["SecurityGroupRules"][0]["FromPort"] == 80, out
    run(aws, f"ec2 delete-security-group --group-id {group}")
    run(aws, f"ec2 delete-vpc --vpc-id {vpc}")


@step("ec2 --dry-run")
def _(aws):
    try:
        run(aws, "ec2 create-vpc --cidr-block 10.99.0.0/16 --dry-run")
    except Exception as error:  # noqa: BLE001 its code is looked at
        assert getattr(error, "code", None) == "DryRunOperation", error
        return
    raise AssertionError("accepted")


@step("cloudformation deploy, twice, and with parameters")
def _(aws):
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": {"Ref": "Name"}}}
    template = {"Parameters": {"Name": {"Type": "String", "Default": "/one"}}, "Resources": {"G": group}}
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "template.json")
        with open(path, "w") as file:
            json.dump(template, file)
        deploy = f"cloudformation deploy --template-file {path} --stack-name deployed"
        assert "Successfully created/updated stack" in run(aws, deploy)
        # The CLI names change sets by the second.
        time.sleep(1.1)
        assert "No changes to deploy" in run(aws, deploy + " --no-fail-on-empty-changeset")
        time.sleep(1.1)
        run(aws, deploy + " --parameter-overrides Name=/two")
    assert "/two" in run(aws, "logs describe-log-groups --log-group-name-prefix /two --query logGroups[].logGroupName")
    run(aws, "cloudformation delete-stack --stack-name deployed")
    run(aws, "cloudformation wait stack-delete-complete --stack-name deployed")


@step("ecr get-login-password")
def _(aws):
    password = run(aws, "ecr get-login-password").strip()
    token = run(aws, "ecr get-authorization-token --query authorizationData[].authorizationToken --output text")
    user, _, secret = base64.b64decode(token).decode().partition(":")
    assert (user, len(secret)) == ("AWS", len(password)) and password, token


@step("iam documents from a file, decoded on the way back")
def _(aws):
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                                                     "Action": "sts:AssumeRole"}]}
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "trust.json")
        with open(path, "w") as file:
            json.dump(trust, file)
        run(aws, f"iam create-role --role-name from-file --assume-role-policy-document file://{path}")
    found = json.loads(run(aws, "iam get-role --role-name from-file"))["Role"]["AssumeRolePolicyDocument"]
    assert found == trust, found
    run(aws, "iam delete-role --role-name from-file")


@step("logs start-live-tail")
def _(aws):
    run(aws, "logs create-log-group --log-group-name /live")
    run(aws, "logs create-log-stream --log-group-name /live --log-stream-name one")
    arn = run(aws, "logs describe-log-groups --log-group-name-prefix /live --query logGroups[0].logGroupArn --output text").strip()
    words = ["start-live-tail", "--log-group-identifiers", arn, "--log-event-filter-pattern", "wanted"]
    program = subprocess.Popen(["aws", "logs", *words], stdout=subprocess.PIPE, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in program.stdout], daemon=True).start()
    try:
        seen, deadline = None, time.time() + 60
        # Only what comes after the session has begun is told.
        while not seen:
            assert time.time() < deadline and program.poll() is None, "nothing came"
            now = int(time.time() * 1000)
            events = [{"timestamp": now, "message": text} for text in ("is wanted", "is not")]
            aws.logs.PutLogEvents(logGroupName="/live", logStreamName="one", logEvents=events)
            with contextlib.suppress(queue.Empty):
                seen = lines.get(timeout=0.5)
        assert seen == "is wanted\n", seen
    finally:
        program.send_signal(signal.SIGINT)
        assert program.wait(20) == 0
    run(aws, "logs delete-log-group --log-group-name /live")
