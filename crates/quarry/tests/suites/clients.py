"""One way to call an operation, by clients that nobody here wrote: `Boto3` and `Cli`.

`aws.ecs.CreateCluster(clusterName="a")` takes members by their model's names and gives the output's members. The
aws CLI gets them as its options (`--cluster-name a`), lists of words as words, structures as JSON, and its output is
parsed; version 1 runs in copies of this process, by the entry that its own `aws` calls, which saves it the time to load
itself; another version as a program.
"""

import contextlib
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import boto3
import botocore.exceptions
from botocore import xform_name

MODELS = boto3.session.Session()._session


class Refused(Exception):
    """An error of the service."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Service:
    """`aws.<service>`; its attributes are operations."""

    def __init__(self, aws, name):
        self.aws, self.name = aws, name

    def __getattr__(self, operation):
        def call(**members):
            self.aws.last = (self.name, operation)
            return self.aws.call(self.name, operation, members)

        return call


class Aws:
    """A client. `last`: the operation that was called last, which a failed assertion speaks of."""

    last = None

    def __getattr__(self, name):
        # Python's names have no hyphens.
        return Service(self, name.replace("_", "-"))

    def refused(self, code, call, **members):
        """A call that must be refused with this code."""
        try:
            answer = call(**members)
        except Refused as error:
            assert error.code == code, f"refused with {error}, not {code}"
            return error
        raise AssertionError(f"accepted, and should be {code}: {answer}")


class Boto3(Aws):
    def __init__(self):
        self.clients = {}

    def version(self):
        return f"boto3 {boto3.__version__}"

    def call(self, service, operation, members):
        client = self.clients.setdefault(service, None) or boto3.client(service)
        self.clients[service] = client
        try:
            answer = getattr(client, xform_name(operation))(**members)
        except botocore.exceptions.ClientError as error:
            raise Refused(error.response["Error"]["Code"], error.response["Error"].get("Message")) from error
        answer.pop("ResponseMetadata")
        return answer

    def wait(self, service, waiter, **members):
        boto3.client(service).get_waiter(waiter).wait(**members, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


class Cli(Aws):
    def __init__(self):
        try:
            from awscli.clidriver import create_clidriver

            self.driver, self.warm = create_clidriver(), create_clidriver()
            # What one has loaded the other need not.
            self.models = self.warm.session.get_component("data_loader")
            self.driver.session.register_component("data_loader", self.models)
            self.loaded = set()
        except ImportError:
            self.driver = None

    def version(self):
        said = subprocess.run(["aws", "--version"], check=True, capture_output=True, text=True)
        return (said.stdout or said.stderr).split()[0].replace("/", " ")

    def run(self, *words):
        """A command line after `aws`: what it prints. Raises what it says when it fails."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
            if self.driver is None:
                code = subprocess.run([shutil.which("aws"), *words], stdin=subprocess.DEVNULL, stdout=out, stderr=said).returncode
            else:
                code = self.forked(words, out, said)
            for file in (out, said):
                file.seek(0)
            out, said = out.read(), said.read()
        if code:
            found = re.search(r"An error occurred \(([^)]*)\)[^:]*: (.*)", said, re.DOTALL)
            if found:
                raise Refused(found[1], found[2].strip())
            raise RuntimeError(f"aws {' '.join(words)}: exit status {code}: {said.strip()}")
        return out

    def forked(self, words, out, said):
        """What `aws` does, in a copy of this process, which has the program and the models already in memory."""
        if words[0] not in self.loaded:
            self.loaded.add(words[0])
            self.warm.session.create_client(words[0])
            for kind in ("paginators-1", "waiters-2"):
                self.models.list_available_services(kind)
                with contextlib.suppress(Exception):
                    self.models.load_service_model(words[0], kind)
            gc.freeze()
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        code = 255
        try:
            gc.disable()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            code = self.driver.main(list(words))
        except SystemExit as end:
            code = end.code
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code if isinstance(code, int) else 255)

    def call(self, service, operation, members):
        with tempfile.TemporaryDirectory() as scratch:
            words = [service, xform_name(operation, "-"), *self.options(service, operation, members, scratch)]
            out = self.run(*words, "--output", "json")
        return json.loads(out) if out.strip() else {}

    @staticmethod
    def options(service, operation, members, scratch):
        """Members as a person types them."""
        shapes = MODELS.get_service_model(service).operation_model(operation).input_shape
        for name, value in members.items():
            shape, option = shapes.members[name], "--" + xform_name(name, "-")
            if shape.type_name == "boolean":
                yield option if value else option.replace("--", "--no-", 1)
            elif shape.type_name == "blob":
                path = os.path.join(scratch, name)
                with open(path, "wb") as file:
                    file.write(value if isinstance(value, bytes) else value.encode())
                yield from (option, "fileb://" + path)
            elif shape.type_name == "list" and all(isinstance(item, str) for item in value):
                # What begins like an option would be taken for one.
                yield from [option, *value] if not any(item[:1] in "-{[" for item in value) else [option, json.dumps(value)]
            elif isinstance(value, (list, dict)):
                yield from (option, json.dumps(value))
            else:
                yield f"{option}={value}"

    def wait(self, service, waiter, **members):
        """`aws … wait …`. It would look every 15 or 30 seconds: it is run when boto3 has seen what it waits for."""
        Boto3.wait(self, service, waiter, **members)
        with tempfile.TemporaryDirectory() as scratch:
            name = "".join(part.title() for part in waiter.split("_"))
            operation = MODELS.get_waiter_model(service).get_waiter(name).operation
            self.run(service, "wait", waiter.replace("_", "-"), *self.options(service, operation, members, scratch))


def scenarios():
    """The list of a module's steps, and the decorator that adds one."""
    found = []

    def step(name):
        def add(function):
            found.append((name, function))
            return function

        return add

    return found, step
