"""A client's suite against a Quarry: `eval "$(quarry env)"; python3 crates/quarry/tests/suites/run.py boto3|aws`.

A step is a scenario of one service (the folder's other files, the same for both clients) or a check of what is the
client's own (`boto3_checks.py`, `cli_checks.py`). Which operations a step called, and how they were answered, the
endpoint counts. The last line printed is the outcome as JSON:

    {"client": …, "steps": [{"name", "failed": null or why}],
     "operations": {service: {operation: {"passed": answers, "refused": as they should be, "failed": steps}}}}

Exit status 1 when a step failed.
"""

import importlib
import json
import sys
import traceback
import urllib.request

import boto3
import clients

SCENARIOS = [
    "network", "identity", "tasks", "balancing", "scaling", "images", "discovery", "stacks", "watching", "tracing", "keeping",
]
CALLS = boto3.client("sts").meta.endpoint_url.rstrip("/") + "/_quarry/v1/calls"


def counted():
    """What the endpoint answered so far: (service, operation) → outcomes."""
    with urllib.request.urlopen(CALLS, timeout=30) as answer:
        told = json.load(answer)
    return {(service, name): counts for service, names in told.items() for name, counts in names.items()}


def steps(client):
    """(name, function, client or None) of each."""
    aws = {"boto3": clients.Boto3, "aws": clients.Cli}[client]()
    for module in SCENARIOS:
        for name, function in importlib.import_module(module).STEPS:
            yield f"{module}: {name}", lambda function=function: function(aws), aws
    if client == "boto3":
        for service, name, function in importlib.import_module("boto3_checks").CHECKS:
            yield f"{service}: {name}", function, None
    else:
        for name, function in importlib.import_module("cli_checks").STEPS:
            yield f"cli: {name}", lambda function=function: function(aws), None


def main():
    client, only = sys.argv[1], sys.argv[2:]
    outcome, operations, version = [], {}, None
    for name, run, aws in steps(client):
        version = version or aws.version()
        if only and not any(name.startswith(wanted) for wanted in only):
            continue
        before, why = counted(), None
        if aws:
            aws.last = None
        try:
            run()
        except Exception as error:  # noqa: BLE001 the next steps are told of, too
            why = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3, chain=False)}"[:4000]
        called = {}
        for key, counts in counted().items():
            earlier = before.get(key, {})
            rise = {outcome: n - earlier.get(outcome, 0) for outcome, n in counts.items()}
            if any(rise.values()):
                called[key] = rise
        blamed = set() if why is None else {aws.last} if aws and aws.last else set(called)
        for key in called.keys() | blamed:
            rise = called.get(key, {})
            row = operations.setdefault(key[0], {}).setdefault(key[1], {"passed": 0, "refused": 0, "failed": 0})
            row["passed"] += rise.get("answered", 0)
            row["refused"] += rise.get("refused", 0)
            row["failed"] += rise.get("failed", 0) + (key in blamed)
        outcome.append({"name": name, "failed": why})
        print(f"{'FAILED' if why else 'passed'}  {name}" + (f" at {aws.last}: {why}" if why and aws else f": {why}" if why else ""), flush=True)
    print(json.dumps({"client": version, "steps": outcome, "operations": operations}))
    sys.exit(any(step["failed"] for step in outcome))


if __name__ == "__main__":
    main()
