"""Cloud Map."""

import time

from clients import scenarios

STEPS, step = scenarios()


def done(aws, started):
    """What an operation made, once it has ended well."""
    for _ in range(600):
        operation = aws.servicediscovery.GetOperation(OperationId=started["OperationId"])["Operation"]
        if operation["Status"] in ("SUCCESS", "FAIL"):
            assert operation["Status"] == "SUCCESS", operation
            return operation["Targets"]
        time.sleep(0.1)
    raise AssertionError(f"not done: {operation}")


@step("a private DNS namespace")
def _(aws):
    found = aws.servicediscovery
    vpc = aws.ec2.CreateVpc(CidrBlock="10.90.0.0/16")["Vpc"]["VpcId"]
    namespace = done(aws, found.CreatePrivateDnsNamespace(Name="suite.local", Vpc=vpc))["NAMESPACE"]
    made = found.GetNamespace(Id=namespace)["Namespace"]
    assert made["Type"] == "DNS_PRIVATE", made
    done(aws, found.UpdatePrivateDnsNamespace(Id=namespace, Namespace={"Description": "b"}))
    assert any(n["Id"] == namespace for n in found.ListNamespaces()["Namespaces"])
    found.TagResource(ResourceARN=made["Arn"], Tags=[{"Key": "a", "Value": "1"}])
    assert found.ListTagsForResource(ResourceARN=made["Arn"])["Tags"] == [{"Key": "a", "Value": "1"}]
    found.UntagResource(ResourceARN=made["Arn"], TagKeys=["a"])
    records = {"DnsRecords": [{"Type": "A", "TTL": 10}]}
    service = found.CreateService(Name="users", NamespaceId=namespace, DnsConfig=records)["Service"]["Id"]
    aws.refused("ResourceInUse", found.DeleteNamespace, Id=namespace)
    done(aws, found.UpdateService(Id=service, Service={"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 5}]}}))
    assert found.GetService(Id=service)["Service"]["DnsConfig"]["DnsRecords"][0]["TTL"] == 5
    found.DeleteService(Id=service)
    done(aws, found.DeleteNamespace(Id=namespace))
    aws.refused("NamespaceNotFound", found.GetNamespace, Id=namespace)


@step("services and instances")
def _(aws):
    found = aws.servicediscovery
    namespace = done(aws, found.CreateHttpNamespace(Name="suite"))["NAMESPACE"]
    done(aws, found.UpdateHttpNamespace(Id=namespace, Namespace={"Description": "b"}))
    service = found.CreateService(Name="orders", NamespaceId=namespace, HealthCheckCustomConfig={})["Service"]["Id"]
    assert any(s["Id"] == service for s in found.ListServices()["Services"])
    found.UpdateServiceAttributes(ServiceId=service, Attributes={"team": "a", "tier": "b"})
    found.DeleteServiceAttributes(ServiceId=service, Attributes=["tier"])
    assert found.GetServiceAttributes(ServiceId=service)["ServiceAttributes"]["Attributes"] == {"team": "a"}
    at = {"AWS_INSTANCE_IPV4": "10.90.0.4", "AWS_INSTANCE_PORT": "80"}
    done(aws, found.RegisterInstance(ServiceId=service, InstanceId="one", Attributes=at))
    assert found.GetInstance(ServiceId=service, InstanceId="one")["Instance"]["Attributes"]["AWS_INSTANCE_PORT"] == "80"
    assert [i["Id"] for i in found.ListInstances(ServiceId=service)["Instances"]] == ["one"]
    seen = found.DiscoverInstances(NamespaceName="suite", ServiceName="orders", HealthStatus="ALL")["Instances"]
    assert [i["InstanceId"] for i in seen] == ["one"], seen
    before = found.DiscoverInstancesRevision(NamespaceName="suite", ServiceName="orders")["InstancesRevision"]
    found.UpdateInstanceCustomHealthStatus(ServiceId=service, InstanceId="one", Status="UNHEALTHY")
    assert found.GetInstancesHealthStatus(ServiceId=service)["Status"] == {"one": "UNHEALTHY"}
    assert found.DiscoverInstancesRevision(NamespaceName="suite", ServiceName="orders")["InstancesRevision"] >= before
    assert found.ListOperations()["Operations"]
    done(aws, found.DeregisterInstance(ServiceId=service, InstanceId="one"))
    found.DeleteService(Id=service)
    done(aws, found.DeleteNamespace(Id=namespace))
