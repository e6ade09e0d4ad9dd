"""The proxies that `bench/proxy` compares, and their target: configured for the same work, one worker each."""

import base64
import contextlib
import ctypes
import ctypes.util
import json
import os
import resource
import shutil
import subprocess

import common

ADDRESS = "127.80.0.77"
GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/bench/0123456789abcdef"
BALANCER = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/bench/0123456789abcdef"
CIPHER = "TLS_AES_128_GCM_SHA256"


class Bench:
    """Programs, a directory and a target that all cases share."""

    def __init__(self, pin=True):
        self.work = common.directory("qbp-")
        self.pin = shutil.which("taskset") if pin and (os.cpu_count() or 1) > 1 else None
        self.nginx = common.find("nginx", "apt install nginx-light", "/usr/sbin/nginx")
        self.haproxy = common.find("haproxy", "apt install haproxy", "/usr/sbin/haproxy")
        if not self.nginx:
            raise SystemExit("nothing measured: nginx is the target")
        self.number = 0
        self.certificate()
        self.targets()

    def on_core(self, core, command):
        return [self.pin, "-c", str(core), *command] if self.pin else command

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def certificate(self):
        """A key and certificate for all of them."""
        self.key, self.chain = (os.path.join(self.work, name) for name in ("key.pem", "chain.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test", "-days", "2",
                        "-keyout", self.key, "-out", self.chain], check=True, capture_output=True)
        self.write("both.pem", open(self.chain).read() + open(self.key).read())

    def start_nginx(self, name, core, http):
        """One worker with a configuration's http part; returns the master's process."""
        home = os.path.join(self.work, name)
        os.makedirs(home, exist_ok=True)
        paths = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        path = self.write(f"{name}.conf", f"""
            worker_processes 1; daemon off; pid {home}.pid; error_log {home}.log; worker_rlimit_nofile 60000;
            events {{ worker_connections 30000; }}
            http {{ {paths} keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0; {http} }}""")
        return common.spawn(self.on_core(core, [self.nginx, "-c", path, "-e", f"{home}.log"]))

    def targets(self):
        """One nginx that answers from memory: a port for each size of answer, and one that reads bodies first."""
        self.ports = {}
        servers = []
        for size in (100, 10 << 10, 1 << 20):
            port = self.ports[size] = common.free_port()
            self.write(f"body-{size}", "x" * size)
            # From memory up to what nginx takes as one word, above from a file.
            serve = f'return 200 "{"x" * size}";' if size <= 4000 else \
                f"root {self.work}; try_files /body-{size} =404; sendfile on; open_file_cache max=10;"
            servers.append(f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {serve} }} }}")
        port = self.ports["upload"] = common.free_port()
        inner = os.path.join(self.work, "inner.sock")
        servers.append(f"""
            upstream inner {{ server unix:{inner}; keepalive 64; keepalive_requests 1000000000; }}
            server {{ listen unix:{inner} backlog=4096; location / {{ return 200 "{"x" * 100}"; }} }}
            server {{
                listen 127.0.0.1:{port} backlog=4096; client_body_buffer_size 2m;
                location / {{
                    proxy_pass http://inner; proxy_http_version 1.1; proxy_pass_request_body off;
                    proxy_set_header Content-Length ""; proxy_set_header Connection "";
                }}
            }}""")
        self.start_nginx("target", 1, "access_log off; " + " ".join(servers))
        for port in self.ports.values():
            common.wait_for("the target", lambda: common.status(("127.0.0.1", port)) == 200)

    def home(self, name):
        """A new directory for one run of a proxy."""
        self.number += 1
        path = os.path.join(self.work, f"{name}-{self.number}")
        os.makedirs(path)
        return path


class Running:
    """A proxy that runs: its process and where it listens."""

    def __init__(self, process, address):
        self.process, self.address = process, address

    def pids(self):
        return common.tree(self.process.pid)

    def end(self):
        common.end(self.process)


def quarry(bench, case, target_port, binary=None):
    data, port = bench.home("q"), common.free_port()
    os.makedirs(os.path.join(data, "proxy"), mode=0o700)
    with open(os.path.join(data, "proxy/snapshot.json"), "w") as file:
        json.dump(snapshot(bench, case, port, target_port, data), file)
    log = open(os.path.join(data, "log"), "w")
    command = [binary or common.quarry(), "proxy", "--data-dir", data, "--workers", "1"]
    return Running(common.spawn(bench.on_core(0, command), stderr=log), (ADDRESS, port))


def snapshot(bench, case, port, target_port, data):
    forward = {"Forward": {"groups": [{"target_group_arn": GROUP, "weight": 1}], "stickiness_seconds": None}}
    rules = [{"arn": f"rule-{n}", "priority": n + 1, "conditions": [{"PathPattern": [f"/api/r{n:04}*"]}],
              "action": forward} for n in range(case.rules)]
    listener = {"arn": "listener", "port": port, "protocol": "Http", "rules": rules,
                "default_action": {"FixedResponse": {"status": 404, "content_type": None, "body": None}}}
    if case.tls:
        vault = os.urandom(32)
        with open(os.path.join(data, "vault.key"), "wb") as file:
            file.write(vault)
        certificate = {"arn": "certificate", "names": ["bench.test"], "chain": open(bench.chain).read(),
                       "key": seal(vault, b"acm certificate private-key", open(bench.key, "rb").read())}
        listener |= {"protocol": "Https", "tls": {"policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
                     "protocols": ["TLSv1.2", "TLSv1.3"], "ciphers": [CIPHER], "certificates": [certificate]}}
    attributes = {"idle_timeout": 60, "client_keep_alive": 3600, "xff_mode": "Append", "xff_client_port": False,
                  "preserve_host_header": False, "drop_invalid_header_fields": False, "desync_mode": "Defensive",
                  "http2": case.http2}
    if case.log:
        attributes["access_logs"] = {"bucket": "bench", "prefix": ""}
    balancer = {"arn": BALANCER, "name": "bench", "dns_name": "bench-1.us-east-1.elb.localhost",
                "address": ADDRESS, "hub_address": None, "attributes": attributes, "listeners": [listener]}
    check = {"enabled": True, "path": "/", "port": None, "interval": 30, "timeout": 5, "healthy_threshold": 2,
             "unhealthy_threshold": 2, "matcher": "200"}
    groups = {GROUP: {"arn": GROUP, "name": "bench", "protocol": "Http", "protocol_version": "Http1",
                      "health_check": check,
                      "attributes": {"deregistration_delay": 300, "slow_start": 0, "algorithm": "RoundRobin",
                                     "stickiness": None},
                      "targets": [{"registration": 1, "id": "127.0.0.1", "port": target_port,
                                   "endpoint": {"Tcp": f"127.0.0.1:{target_port}"}, "draining": False,
                                   "probe": True}]}}
    return {"version": 1, "load_balancers": [balancer], "target_groups": groups, "names": [], "relays": [], "hub": None}


def seal(key, context, value):
    """AES-256-GCM as `vault.key` seals private keys, by OpenSSL's library."""
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    for function in (crypto.EVP_CIPHER_CTX_new, crypto.EVP_aes_256_gcm):
        function.restype = ctypes.c_void_p
    nonce, size = os.urandom(12), ctypes.c_int()
    out, tag = ctypes.create_string_buffer(len(value) + 16), ctypes.create_string_buffer(16)
    cipher = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    crypto.EVP_EncryptInit_ex(cipher, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce)
    crypto.EVP_EncryptUpdate(cipher, None, ctypes.byref(size), context, len(context))
    crypto.EVP_EncryptUpdate(cipher, out, ctypes.byref(size), value, len(value))
    crypto.EVP_EncryptFinal_ex(cipher, ctypes.create_string_buffer(16), ctypes.byref(size))
    crypto.EVP_CIPHER_CTX_ctrl(cipher, 0x10, 16, tag)
    crypto.EVP_CIPHER_CTX_free(cipher)
    return base64.b64encode(nonce + out.raw[:len(value)] + tag.raw).decode().rstrip("=")


def haproxy(bench, case, target_port):
    port = common.free_port()
    rules = "\n".join(f"    use_backend target if {{ path_beg /api/r{n:04} }}" for n in range(case.rules))
    alpn = "h2,http/1.1" if case.http2 else "http/1.1"
    secure = f"ssl crt {bench.work}/both.pem alpn {alpn} ciphersuites {CIPHER}" if case.tls else ""
    home = bench.home("haproxy")
    path = bench.write(f"{os.path.basename(home)}.cfg", f"""
global
    nbthread 1
    maxconn {min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100)}
    {"log stdout format raw local0" if case.log else ""}
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
    {"log global" if case.log else ""}
    {"option httplog" if case.log else ""}
frontend in
    bind 127.0.0.1:{port} backlog 4096 {secure}
    http-request set-header X-Forwarded-Proto {"https" if case.tls else "http"}
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Amzn-Trace-Id Root=1-%[uuid]
{rules}
    default_backend none
backend target
    server one 127.0.0.1:{target_port} check inter 30s
backend none
    http-request return status 404
""")
    log = open(os.path.join(home, "log"), "w")
    command = bench.on_core(0, [bench.haproxy, "-db", "-f", path])
    return Running(common.spawn(command, stdout=log), ("127.0.0.1", port))


def nginx(bench, case, target_port):
    port = common.free_port()
    rules = "".join(f"location /api/r{n:04} {{ proxy_pass http://target; }}" for n in range(case.rules))
    secure = ""
    if case.tls:
        secure = f"ssl_certificate {bench.chain}; ssl_certificate_key {bench.key}; ssl_protocols TLSv1.2 TLSv1.3;" \
                 f" ssl_conf_command Ciphersuites {CIPHER};"
    # The fields of a load balancer's access log.
    form = """log_format alb '$scheme $time_iso8601 $remote_addr:$remote_port $upstream_addr $request_time
        $upstream_response_time $status $upstream_status $request_length $bytes_sent "$request" "$http_user_agent"
        $ssl_cipher $ssl_protocol "$http_host" $request_id';"""
    home = bench.home("nginx")
    log = f"{form} access_log {home}/access.log alb buffer=64k flush=1s;" if case.log else "access_log off;"
    process = bench.start_nginx(os.path.basename(home), 0, f"""
        {log}
        upstream target {{ server 127.0.0.1:{target_port}; keepalive 1024; keepalive_requests 1000000000; }}
        server {{
            listen 127.0.0.1:{port} backlog=4096 {"ssl" if case.tls else ""} {"http2" if case.http2 else ""};
            {secure}
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffers 8 32k;
            proxy_busy_buffers_size 64k;
            proxy_max_temp_file_size 0;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Amzn-Trace-Id Root=1-$request_id;
            {rules}
            location / {{ return 404; }}
        }}""")
    return Running(process, ("127.0.0.1", port))


def wait(name, running, case):
    """Waits until a proxy passes the target's answers on."""
    def answers():
        if running.process.poll() is not None:
            raise SystemExit(f"{name} ended with {running.process.returncode}")
        with contextlib.suppress(subprocess.SubprocessError):
            scheme = "https" if case.tls else "http"
            url = f"{scheme}://{running.address[0]}:{running.address[1]}{case.path}"
            out = subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", url],
                                 capture_output=True, text=True)
            return out.stdout == "200"
    common.wait_for(name, answers, pause=0.05)
