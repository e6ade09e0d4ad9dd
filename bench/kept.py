"""A kept tour to measure in, and a small service of its own in it."""

import http.client
import os
import subprocess
import time

import common

NAME = "bench"
# The rule's Host, and a path that no other rule takes.
HOST = "bench.test"
PATH = "/healthz"


class Kept:
    """The Quarry of `quarry tour --keep`: one that is given, or one made here and ended with this program."""

    def __init__(self, data_dir):
        binary = common.quarry()
        if data_dir is None:
            data_dir = common.directory("qbk-")
            # Before the tour, so that a tour that fails half-way is ended as well.
            common.at_end(subprocess.run, [binary, "stop", "--data-dir", data_dir], False)
            tour = subprocess.run([binary, "tour", "--keep", "--watch", "0", "--data-dir", data_dir], cwd=common.ROOT,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if tour.returncode != 0:
                raise SystemExit(f"the tour failed:\n{tour.stdout}")
        self.data_dir = os.path.realpath(data_dir)
        self.aws = common.installation(self.data_dir)
        self.cluster = self.aws.ecs("ListClusters")["clusterArns"][0]


class Service:
    """`users` once more, small enough for a dozen tasks, reached by its own Host; removed with this program."""

    def __init__(self, kept, image="users", port=3000):
        self.kept, self.aws, self.cluster = kept, kept.aws, kept.cluster
        source = self.aws.ecs("DescribeTaskDefinition", taskDefinition=image)["taskDefinition"]
        container = {**source["containerDefinitions"][0], "name": NAME, "cpu": 16, "memory": 48}
        volumes = [{"name": v["name"], "dockerVolumeConfiguration": v["dockerVolumeConfiguration"]}
                   for v in source.get("volumes", [])]
        registered = self.aws.ecs("RegisterTaskDefinition", family=NAME, networkMode="bridge",
                                  containerDefinitions=[container], volumes=volumes)
        self.definition = registered["taskDefinition"]["taskDefinitionArn"]
        common.at_end(lambda: self.aws.ecs("DeregisterTaskDefinition", taskDefinition=self.definition))
        balancer = self.aws.elb("DescribeLoadBalancers").find(".//LoadBalancers/member")
        arn = balancer.findtext("LoadBalancerArn")
        group = self.aws.elb("CreateTargetGroup", Name=NAME, Protocol="HTTP", Port=80,
                             VpcId=balancer.findtext("VpcId"), HealthyThresholdCount=2, UnhealthyThresholdCount=2,
                             HealthCheckIntervalSeconds=6, HealthCheckTimeoutSeconds=5)
        self.group = group.findtext(".//TargetGroupArn")
        common.at_end(lambda: self.aws.elb("DeleteTargetGroup", TargetGroupArn=self.group))
        listener = self.aws.elb("DescribeListeners", LoadBalancerArn=arn).findtext(".//ListenerArn")
        rule = self.aws.elb("CreateRule", ListenerArn=listener, Priority=40000, **{
            "Conditions.member.1.Field": "host-header", "Conditions.member.1.Values.member.1": HOST,
            "Actions.member.1.Type": "forward", "Actions.member.1.TargetGroupArn": self.group})
        self.rule = rule.findtext(".//RuleArn")
        common.at_end(lambda: self.aws.elb("DeleteRule", RuleArn=self.rule))
        self.aws.ecs("CreateService", cluster=self.cluster, serviceName=NAME, taskDefinition=self.definition,
                     desiredCount=0, launchType="EC2",
                     loadBalancers=[{"targetGroupArn": self.group, "containerName": NAME, "containerPort": port}])
        common.at_end(self.remove)
        self.address = self.bound(listener)

    def bound(self, listener):
        connection = http.client.HTTPConnection(*self.aws.address)
        connection.request("GET", "/_quarry/v1/listeners")
        listeners = common.json.loads(connection.getresponse().read())
        listeners = listeners.get("listeners", listeners) if isinstance(listeners, dict) else listeners
        found = next(l for l in listeners if l["listener_arn"] == listener)
        host, port = found["bound"][0].rsplit(":", 1)
        return host, int(port)

    def want(self, count):
        self.aws.ecs("UpdateService", cluster=self.cluster, service=NAME, desiredCount=count)

    def states(self):
        health = self.aws.elb("DescribeTargetHealth", TargetGroupArn=self.group)
        return [e.text for e in health.findall(".//TargetHealth/State")]

    def tasks(self):
        arns = self.aws.ecs("ListTasks", cluster=self.cluster, serviceName=NAME)["taskArns"]
        return self.aws.ecs("DescribeTasks", cluster=self.cluster, tasks=arns)["tasks"] if arns else []

    def wait_healthy(self, count, pause=0.002):
        common.wait_for(f"{count} healthy targets", lambda: self.states() == ["healthy"] * count, pause=pause)

    def wait_empty(self):
        common.wait_for("no target and no task", lambda: not self.states() and not self.tasks(), pause=0.01)
        # An empty group's answer: whatever answers 200 after this is a new task.
        common.wait_for("503", lambda: common.status(self.address, PATH, HOST) == 503, pause=0.01)

    def remove(self):
        self.want(0)
        self.wait_empty()
        self.aws.ecs("DeleteService", cluster=self.cluster, service=NAME)
        gone = lambda: self.aws.ecs("DescribeServices", cluster=self.cluster, services=[NAME])["services"]
        common.wait_for("the service's end", lambda: all(s["status"] == "INACTIVE" for s in gone()), pause=0.02)


def first_answer(address, seconds=20):
    """The moment at which an HTTP server answers 200, asked again every half millisecond; over one connection
    where there is one."""
    begin, connection = time.monotonic(), None
    while time.monotonic() - begin < seconds:
        try:
            connection = connection or http.client.HTTPConnection(*address, timeout=5)
            connection.request("GET", PATH, headers={"Host": HOST})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                connection.close()
                return time.monotonic()
        except (OSError, http.client.HTTPException):
            connection.close()
            connection = None
        time.sleep(0.0005)
    raise SystemExit(f"http://{address[0]}:{address[1]} did not answer 200 within {seconds} s")
