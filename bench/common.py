"""What the benchmarks share: Quarry under test, signed calls, /proc, medians. Standard library only."""

import atexit
import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICK = os.sysconf("SC_CLK_TCK")

# ---- what was started and made, and taking it away again -------------------------------------------

_cleanups = contextlib.ExitStack()
atexit.register(_cleanups.close)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, lambda *_: sys.exit(130))


def at_end(function, *arguments):
    """Calls a function when this program ends, in reverse order."""
    _cleanups.callback(function, *arguments)


def directory(prefix):
    """A new short-named directory that goes when this program ends."""
    path = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    os.chmod(path, 0o755)
    at_end(shutil.rmtree, path, True)
    return path


def spawn(command, **options):
    """Starts a process that is ended with this program."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    process = subprocess.Popen(command, **options)
    at_end(end, process)
    return process


def end(process, number=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def skip(what, hint):
    print(f"skipped: {what} not found ({hint})")


def find(name, hint, *more):
    """The path of a program, or None after saying that it is absent."""
    path = shutil.which(name) or next((p for p in more if os.access(p, os.X_OK)), None)
    if path is None:
        skip(name, hint)
    return path


def target_directory():
    if os.environ.get("CARGO_TARGET_DIR"):
        return os.environ["CARGO_TARGET_DIR"]
    return os.path.join(ROOT, "target")


def quarry():
    """The release binary: $QUARRY, or the one that `cargo build --release` made."""
    path = os.environ.get("QUARRY") or os.path.join(target_directory(), "release/quarry")
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} not found: run `cargo build --release` first, or set QUARRY")
    return os.path.abspath(path)


# ---- the machine -----------------------------------------------------------------------------------


def machine():
    """One line on where this was measured and how busy it was."""
    uname = os.uname()
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return f"{os.cpu_count()} x {model}, Linux {uname.release}, load average {load}"


def cpu_seconds(pids):
    """User and system time of processes, all their threads included."""
    total = 0
    for pid in pids:
        try:
            # Nanoseconds, where the kernel keeps them; threads that have ended are not in it.
            tasks = [open(f"/proc/{pid}/task/{task}/schedstat") for task in os.listdir(f"/proc/{pid}/task")]
            total += sum(int(task.read().split()[0]) for task in tasks) / 1e9
        except OSError:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def working_directory(pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for child in all_pids():
        with contextlib.suppress(OSError, IndexError):
            parent = int(open(f"/proc/{child}/stat").read().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def memory_kib(pids):
    """Proportional set size and resident set size of processes."""
    pss = rss = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
            elif line.startswith("Rss:"):
                rss += int(line.split()[1])
    return pss, rss


def peak_kib(pids):
    """The highest resident set size so far, summed over processes."""
    lines = (line for pid in pids for line in open(f"/proc/{pid}/status"))
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def quarry_processes(data_dir):
    """Quarry's own processes of a data directory: role -> process ids."""
    roles = {}
    for pid in all_pids():
        with contextlib.suppress(OSError):
            words = open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace").split("\0")
            if len(words) > 2 and any(w == data_dir or w.startswith(data_dir + "/") for w in words[2:]):
                if words[1] in ("serve", "proxy", "holder", "nursery", "shim"):
                    roles.setdefault(words[1], []).append(pid)
    return roles


# ---- figures ---------------------------------------------------------------------------------------


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values, form="{:.1f}"):
    """`median (least … most)`."""
    return " ".join([form.format(statistics.median(values)),
                     "(" + form.format(min(values)), "…", form.format(max(values)) + ")"])


def ratio(ours, theirs):
    """Median of ours by median of theirs, one below 1 meaning that we need less."""
    return f"{statistics.median(ours) / statistics.median(theirs):.2f} x"


def table(rows):
    """Prints rows as a Markdown table; the first is the head."""
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


# ---- HTTP and AWS ----------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=60, pause=0.002):
    """Polls until a condition gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(pause)


def status(address, path="/", host=None):
    """The status of one request on a new connection, or None where nobody answers."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Aws:
    """Signed calls (Signature Version 4) on one kept connection."""

    def __init__(self, endpoint, key, secret, region):
        url = urllib.parse.urlsplit(endpoint)
        self.address, self.key, self.secret, self.region = (url.hostname, url.port), key, secret, region
        self.connection = http.client.HTTPConnection(*self.address, timeout=30)

    def signed(self, service, headers, body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {**headers, "host": f"{self.address[0]}:{self.address[1]}", "x-amz-date": now}
        names = ";".join(sorted(headers))
        canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join(["POST", "/", "", canonical, names, hashlib.sha256(body).hexdigest()])
        scope = f"{now[:8]}/{self.region}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + self.secret).encode()
        for part in [*scope.split("/"), text]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, "
                                    f"SignedHeaders={names}, Signature={key.hex()}")
        return headers

    def send(self, service, headers, body):
        self.connection.request("POST", "/", body, self.signed(service, headers, body))
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{service} answered {answer.status}: {content.decode(errors='replace')}")
        return content

    def ecs(self, operation, **members):
        target = f"AmazonEC2ContainerServiceV20141113.{operation}"
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        return json.loads(self.send("ecs", headers, json.dumps(members).encode()))

    def query(self, service, version, operation, **members):
        """Members as the Query protocol flattens them; the answer without XML namespaces."""
        body = urllib.parse.urlencode({"Action": operation, "Version": version, **members}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        answer = ElementTree.fromstring(self.send(service, headers, body))
        for element in answer.iter():
            element.tag = element.tag.rsplit("}", 1)[-1]
        return answer

    def elb(self, operation, **members):
        return self.query("elasticloadbalancing", "2015-12-01", operation, **members)

    def identity(self):
        return self.query("sts", "2011-06-15", "GetCallerIdentity").findtext(".//Account")


def installation(data_dir):
    """Signed calls to the Quarry that serves a data directory."""
    secrets = json.load(open(os.path.join(data_dir, "secrets.json")))
    serving = json.load(open(os.path.join(data_dir, "serve.json")))
    return Aws(serving["endpoint"], secrets["access_key_id"], secrets["secret_access_key"], secrets["region"])
