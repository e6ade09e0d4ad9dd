#!/usr/bin/env python3
"""Makes and checks the fixtures that hold our codecs against botocore's.

  fixtures.py write   requests as botocore serialises them, signatures as it
                      computes them, and outputs for our server to encode
  fixtures.py check   parses the answers our server encoded (written by
                      `UPDATE_FIXTURES=1 cargo test -p quarry-aws --test botocore`)
                      and compares them with the outputs

Needs botocore. The files are in crates/aws/tests/fixtures, so the tests do not.
"""

import base64
import datetime
import json
import pathlib
import re
import sys
import urllib.parse

import botocore
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.model
import botocore.parsers
import botocore.serialize
import botocore.session

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "crates/aws/tests/fixtures"
SESSION = botocore.session.get_session()
NOON = datetime.datetime(2026, 1, 31, 12, 0, 0, tzinfo=datetime.timezone.utc)
TEXT = 'a&b <c> "d" é=+/ 100%'
MAX_DEPTH = 6
CBOR = "smithy-rpc-v2-cbor"


def operations():
    """Every operation we serve: (our service name, botocore's operation model)."""
    service = None
    for line in (HERE / "operations.toml").read_text().splitlines():
        line = line.split("#")[0].strip()
        if re.fullmatch(r"\[[\w-]+\]", line):
            service = line[1:-1]
            model = SESSION.get_service_model(service)
            continue
        for name in re.findall(r'"(\w+)"', line):
            yield service, model.operation_model(name)


def sample(shape, width, depth=0):
    """A value for every member of a shape; lists and maps with `width` elements."""
    if shape.type_name == "structure":
        if getattr(shape, "is_document_type", False):
            return {"any": ["thing", 1, None]}
        if depth >= MAX_DEPTH:
            return {}
        return {name: sample(member, width, depth + 1) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [sample(shape.member, width, depth + 1) for _ in range(width)]
    if shape.type_name == "map":
        return {f"key {i}": sample(shape.value, width, depth + 1) for i in range(width)}
    if shape.type_name == "string":
        return shape.enum[-1] if shape.enum else TEXT
    if shape.type_name == "timestamp":
        return NOON
    return {"boolean": True, "integer": 256, "long": 1 << 40, "float": 0.5, "double": 0.25, "blob": b"\x00\xffblob"}[
        shape.type_name
    ]


def plain(value):
    """A value in AWS's JSON form."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime.datetime):
        seconds = value.timestamp()
        return int(seconds) if seconds == int(seconds) else seconds
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def without_empty(value):
    """Without empty lists and structures, which Query and EC2 parameters cannot say."""
    if isinstance(value, dict):
        cleaned = {k: without_empty(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v not in ({}, [], None)}
    if isinstance(value, list):
        return [v for v in map(without_empty, value) if v not in ({}, [], None)]
    return value


def hand_written():
    """Cases with the corners: several elements, maps, timestamps with fractions, unicode."""
    yield "ecs", "RegisterTaskDefinition", {
        "family": "web",
        "networkMode": "awsvpc",
        "containerDefinitions": [
            {
                "name": "web",
                "image": "nginx",
                "cpu": 256,
                "memory": 512,
                "essential": True,
                "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
                "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "x": "y z"}},
            },
            {"name": "side", "image": "busybox", "command": ["sh", "-c", "echo 'ü' && true"]},
        ],
        "tags": [],
    }
    yield "cloudformation", "CreateStack", {
        "StackName": "board",
        "TemplateBody": '{"Resources": {"C": {"Type": "AWS::ECS::Cluster"}}}\n',
        "Parameters": [
            {"ParameterKey": "A", "ParameterValue": "1,2"},
            {"ParameterKey": "B", "UsePreviousValue": True},
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        "Tags": [],
    }
    yield "elbv2", "CreateRule", {
        "ListenerArn": "arn:aws:elasticloadbalancing:us-east-1:000000000000:listener/app/a/1/2",
        "Priority": 10,
        "Conditions": [
            {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/api/*", "/v2/*"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["1"]}},
        ],
        "Actions": [
            {
                "Type": "forward",
                "ForwardConfig": {
                    "TargetGroups": [
                        {"TargetGroupArn": "arn:a", "Weight": 1},
                        {"TargetGroupArn": "arn:b", "Weight": 99},
                    ],
                    "TargetGroupStickinessConfig": {"Enabled": False},
                },
            }
        ],
    }
    yield "ec2", "DescribeSubnets", {
        "Filters": [{"Name": "vpc-id", "Values": ["vpc-1", "vpc-2"]}, {"Name": "tag:a", "Values": ["b"]}],
        "SubnetIds": ["subnet-1"],
        "DryRun": False,
        "MaxResults": 5,
    }
    yield "ec2", "AuthorizeSecurityGroupIngress", {
        "GroupId": "sg-1",
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 80,
                "ToPort": 80,
                "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "world"}],
                "UserIdGroupPairs": [{"GroupId": "sg-2"}],
            }
        ],
        "TagSpecifications": [{"ResourceType": "security-group-rule", "Tags": [{"Key": "k", "Value": "v"}]}],
    }
    yield "logs", "PutLogEvents", {
        "logGroupName": "/ecs/web",
        "logStreamName": "web/1",
        "logEvents": [{"timestamp": 1767225600123, "message": "line\twith\ntabs"}],
    }
    yield "cloudformation", "UpdateStack", {"StackName": "board", "NotificationARNs": [], "Tags": []}


def protocols(service, model):
    """The protocols that the fixtures of a service show: its own, and CBOR where newer SDKs send it."""
    own = model.service_model.metadata["protocols"]
    return [*own, CBOR] if service == "servicediscovery" else own


def in_protocol(protocol, params):
    """The parameters that a protocol can say."""
    return without_empty(params) if protocol in ("query", "ec2") else params


def serialised(service, model, params, protocol):
    serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
    request = serializer.serialize_to_request(params, model)
    body = request["body"]
    if protocol == CBOR:
        body = base64.b64encode(body).decode()
    elif isinstance(body, dict):
        body = urllib.parse.urlencode(body, doseq=True)
    elif isinstance(body, bytes):
        body = body.decode()
    case = {
        "service": service,
        "operation": model.name,
        "protocol": protocol,
        "target": request["headers"].get("X-Amz-Target"),
        "body": body,
        "input": plain(params),
    }
    if protocol == CBOR:
        assert request["headers"]["smithy-protocol"] == "rpc-v2-cbor", request["headers"]
        case["path"] = request["url_path"]
    if protocol == "rest-json":
        assert request["method"] == "POST" and not request["query_string"], request
        case["path"] = request["url_path"]
    return case


def write_requests():
    cases = []
    for service, name, params in hand_written():
        model = SESSION.get_service_model(service).operation_model(name)
        cases.append(serialised(service, model, params, model.service_model.metadata["protocol"]))
    for service, model in operations():
        params = sample(model.input_shape, 1) if model.input_shape else {}
        for protocol in protocols(service, model):
            cases.append(serialised(service, model, in_protocol(protocol, params), protocol))
    dump("requests.json", cases)


def write_outputs():
    cases = []
    for service, model in operations():
        if model.has_event_stream_output:
            # No one answer: the suites of clients read the stream.
            continue
        output = sample(model.output_shape, 1) if model.output_shape else {}
        for protocol in protocols(service, model):
            cases.append({"service": service, "operation": model.name, "protocol": protocol, "output": plain(output)})
    for service, name, output in [
        ("elbv2", "DescribeLoadBalancers", {"LoadBalancers": []}),
        ("ec2", "DescribeVpcs", {"Vpcs": [{"VpcId": "vpc-1"}, {"VpcId": "vpc-2", "Tags": []}]}),
        ("ecs", "ListClusters", {"clusterArns": []}),
        ("cloudformation", "DescribeStacks", {"Stacks": [{"StackName": "  spaced\n", "CreationTime": NOON.replace(microsecond=123000), "StackStatus": "CREATE_COMPLETE"}]}),
    ]:
        protocol = SESSION.get_service_model(service).metadata["protocol"]
        cases.append({"service": service, "operation": name, "protocol": protocol, "output": plain(output)})
    dump("outputs.json", cases)


def write_signatures():
    cases = []
    requests = [
        ("POST", "http://127.0.0.1:4566/", {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}, b"{}", "ecs", None),
        ("POST", "http://localhost:4566/", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"Action=DescribeVpcs&Version=2016-11-15", "ec2", "a/session+token=="),
        ("GET", "http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15&z=%20b&a=%C3%A9", {}, b"", "sts", None),
        ("GET", "http://127.0.0.1:4566/a%20b/../c//d/?b=2&b=1&a", {"X-Amz-Meta": "  two   spaces "}, b"", "ecs", None),
    ]
    stamp = NOON.strftime("%Y%m%dT%H%M%SZ")

    class Frozen(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return NOON.replace(tzinfo=None)

        @classmethod
        def now(cls, tz=None):
            return NOON if tz else NOON.replace(tzinfo=None)

    botocore.auth.datetime = type("module", (), {"datetime": Frozen, "timezone": datetime.timezone, "UTC": datetime.timezone.utc})
    if hasattr(botocore.auth, "get_current_datetime"):
        botocore.auth.get_current_datetime = lambda *_, **__: NOON.replace(tzinfo=None)
    for presigned in (False, True):
        for method, url, headers, body, service, token in requests:
            if presigned and method != "GET":
                continue
            keys = botocore.credentials.Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
            request = botocore.awsrequest.AWSRequest(method=method, url=url, headers=headers, data=body)
            request.context["timestamp"] = stamp
            signer = botocore.auth.SigV4QueryAuth if presigned else botocore.auth.SigV4Auth
            extra = {"expires": 300} if presigned else {}
            signer(keys, service, "us-east-1", **extra).add_auth(request)
            parts = urllib.parse.urlsplit(request.url)
            sent = {k.lower(): v for k, v in request.headers.items()}
            sent.setdefault("host", parts.netloc)
            cases.append(
                {
                    "method": method,
                    "path": parts.path,
                    "query": parts.query,
                    "headers": sent,
                    "body": body.decode(),
                    "service": service,
                    "session_token": token,
                    "presigned": presigned,
                }
            )
            assert stamp in json.dumps(cases[-1]), "the clock is not frozen"
    dump("signatures.json", {"at": int(NOON.timestamp()), "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "region": "us-east-1", "requests": cases})


def dump(name, cases):
    FIXTURES.mkdir(parents=True, exist_ok=True)
    if isinstance(cases, list):
        text = "[\n" + ",\n".join(json.dumps(c, sort_keys=True, ensure_ascii=False) for c in cases) + "\n]\n"
    else:
        text = json.dumps(cases, indent=1, sort_keys=True) + "\n"
    (FIXTURES / name).write_text(text)


def check():
    cases = json.loads((FIXTURES / "outputs.json").read_text())
    answers = json.loads((FIXTURES / "answers.json").read_text())
    errors = json.loads((FIXTURES / "errors.json").read_text())
    assert len(cases) == len(answers), "run the test with UPDATE_FIXTURES=1 first"
    for case, answer in zip(cases, answers):
        model = SESSION.get_service_model(case["service"]).operation_model(case["operation"])
        parsed = parse(model, case["protocol"], 200, {}, answer)
        meta = parsed.pop("ResponseMetadata")
        # Its CBOR parser looks at nothing when there is no output.
        if case["protocol"] != CBOR or model.output_shape:
            assert meta["RequestId"] == "req-1", (case["operation"], meta)
        found, wanted = plain(parsed), case["output"]
        assert found == wanted, f"{case['service']} {case['operation']}:\n{answer}\n{found}\n{wanted}"
    for error in errors:
        model = SESSION.get_service_model(error["service"]).operation_model(error["operation"])
        parsed = parse(model, error["protocol"], error["status"], error["headers"], error["body"])
        assert parsed["Error"]["Code"] == error["code"], parsed
        assert parsed["Error"]["Message"] == error["message"], parsed
        assert parsed["ResponseMetadata"]["RequestId"] == "req-1", parsed
    print(f"botocore {botocore.__version__} parses {len(answers)} answers and {len(errors)} errors as meant")


def parse(model, protocol, status, headers, body):
    parser = botocore.parsers.create_parser(protocol)
    body = base64.b64decode(body) if protocol == CBOR else body.encode()
    headers = {"x-amzn-requestid": "req-1", **headers}
    return parser.parse({"status_code": status, "headers": headers, "body": body}, model.output_shape)


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write_requests()
        write_outputs()
        write_signatures()
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)
