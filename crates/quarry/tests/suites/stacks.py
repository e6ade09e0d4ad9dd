"""CloudFormation."""

import json

from clients import scenarios
from scaling import place, until

STEPS, step = scenarios()


def template(count=1, **more):
    clusters = {f"C{i}": {"Type": "AWS::ECS::Cluster"} for i in range(count)}
    outputs = {"Name": {"Value": {"Ref": "C0"}, **more}}
    return json.dumps({"Resources": clusters, "Outputs": outputs})


@step("a stack from creation to deletion")
def _(aws):
    form = aws.cloudformation
    form.ValidateTemplate(TemplateBody=template())
    assert form.GetTemplateSummary(TemplateBody=template())["ResourceTypes"] == ["AWS::ECS::Cluster"]
    form.CreateStack(StackName="suite", TemplateBody=template())
    aws.wait("cloudformation", "stack_create_complete", StackName="suite")
    assert form.DescribeStacks(StackName="suite")["Stacks"][0]["Outputs"][0]["OutputKey"] == "Name"
    assert json.loads(template()) == form.GetTemplate(StackName="suite")["TemplateBody"]
    assert form.DescribeStackResources(StackName="suite")["StackResources"][0]["LogicalResourceId"] == "C0"
    assert form.DescribeStackResource(StackName="suite", LogicalResourceId="C0")["StackResourceDetail"]
    assert len(form.ListStackResources(StackName="suite")["StackResourceSummaries"]) == 1
    assert any(s["StackName"] == "suite" for s in form.ListStacks()["StackSummaries"])
    form.UpdateStack(StackName="suite", TemplateBody=template(2))
    aws.wait("cloudformation", "stack_update_complete", StackName="suite")
    aws.refused("ValidationError", form.UpdateStack, StackName="suite", TemplateBody=template(2))
    events = form.DescribeStackEvents(StackName="suite")["StackEvents"]
    assert events[0]["ResourceStatus"] == "UPDATE_COMPLETE", events[0]
    policy = '{"Statement":[{"Effect":"Allow","Action":"Update:*","Principal":"*","Resource":"*"}]}'
    form.SetStackPolicy(StackName="suite", StackPolicyBody=policy)
    assert json.loads(form.GetStackPolicy(StackName="suite")["StackPolicyBody"]) == json.loads(policy)
    form.UpdateTerminationProtection(StackName="suite", EnableTerminationProtection=True)
    aws.refused("ValidationError", form.DeleteStack, StackName="suite")
    form.UpdateTerminationProtection(StackName="suite", EnableTerminationProtection=False)
    form.DeleteStack(StackName="suite")
    aws.wait("cloudformation", "stack_delete_complete", StackName="suite")
    aws.refused("ValidationError", form.DescribeStacks, StackName="suite")


@step("change sets")
def _(aws):
    form = aws.cloudformation
    form.CreateChangeSet(StackName="changed", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=template())
    aws.wait("cloudformation", "change_set_create_complete", StackName="changed", ChangeSetName="first")
    changes = form.DescribeChangeSet(StackName="changed", ChangeSetName="first")["Changes"]
    assert changes[0]["ResourceChange"]["Action"] == "Add", changes
    form.ExecuteChangeSet(StackName="changed", ChangeSetName="first")
    aws.wait("cloudformation", "stack_create_complete", StackName="changed")
    form.CreateChangeSet(StackName="changed", ChangeSetName="second", TemplateBody=template(2))
    aws.wait("cloudformation", "change_set_create_complete", StackName="changed", ChangeSetName="second")
    assert "second" in [s["ChangeSetName"] for s in form.ListChangeSets(StackName="changed")["Summaries"]]
    form.DeleteChangeSet(StackName="changed", ChangeSetName="second")
    form.DeleteStack(StackName="changed")
    aws.wait("cloudformation", "stack_delete_complete", StackName="changed")


@step("exports, imports and drift")
def _(aws):
    form = aws.cloudformation
    form.CreateStack(StackName="exporter", TemplateBody=template(Export={"Name": "suite-name"}))
    aws.wait("cloudformation", "stack_create_complete", StackName="exporter")
    assert [e["Name"] for e in form.ListExports()["Exports"]] == ["suite-name"]
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": {"Fn::ImportValue": "suite-name"}}}
    form.CreateStack(StackName="importer", TemplateBody=json.dumps({"Resources": {"G": group}}))
    aws.wait("cloudformation", "stack_create_complete", StackName="importer")
    assert form.ListImports(ExportName="suite-name")["Imports"] == ["importer"]
    detection = form.DetectStackDrift(StackName="importer")["StackDriftDetectionId"]

    def detected():
        seen = form.DescribeStackDriftDetectionStatus(StackDriftDetectionId=detection)
        return seen if seen["DetectionStatus"] != "DETECTION_IN_PROGRESS" else None

    seen = until("drift is detected", detected)
    assert (seen["DetectionStatus"], seen["StackDriftStatus"]) == ("DETECTION_COMPLETE", "IN_SYNC"), seen
    drift = form.DetectStackResourceDrift(StackName="importer", LogicalResourceId="G")["StackResourceDrift"]
    assert drift["StackResourceDriftStatus"] == "IN_SYNC", drift
    assert form.DescribeStackResourceDrifts(StackName="importer")["StackResourceDrifts"]
    for name in ("importer", "exporter"):
        form.DeleteStack(StackName=name)
        aws.wait("cloudformation", "stack_delete_complete", StackName=name)


@step("signals, cancelling and rolling back")
def _(aws):
    form = aws.cloudformation
    _, subnet, image = place(aws, "10.98")
    aws.autoscaling.CreateLaunchConfiguration(LaunchConfigurationName="signalled", ImageId=image, InstanceType="t3.micro")
    waiting = {"Type": "AWS::AutoScaling::AutoScalingGroup", "CreationPolicy": {"ResourceSignal": {"Timeout": "PT10M"}},
               "Properties": {"LaunchConfigurationName": "signalled", "MinSize": "0", "MaxSize": "0",
                              "VPCZoneIdentifier": [subnet]}}
    form.CreateStack(StackName="signalled", TemplateBody=json.dumps({"Resources": {"W": waiting}}), DisableRollback=True)

    def status(resource):
        found = form.DescribeStackResources(StackName="signalled")["StackResources"]
        return {r["LogicalResourceId"]: r["ResourceStatus"] for r in found}.get(resource)

    until("the group waits", lambda: status("W") == "CREATE_IN_PROGRESS")
    form.SignalResource(StackName="signalled", LogicalResourceId="W", UniqueId="one", Status="SUCCESS")
    aws.wait("cloudformation", "stack_create_complete", StackName="signalled")
    again = {"W": waiting, "V": waiting}
    form.UpdateStack(StackName="signalled", TemplateBody=json.dumps({"Resources": again}))
    form.CancelUpdateStack(StackName="signalled")
    aws.wait("cloudformation", "stack_rollback_complete", StackName="signalled")
    aws.refused("ValidationError", form.ContinueUpdateRollback, StackName="signalled")
    form.UpdateStack(StackName="signalled", TemplateBody=json.dumps({"Resources": again}), DisableRollback=True)
    until("the other waits", lambda: status("V") == "CREATE_IN_PROGRESS")
    form.SignalResource(StackName="signalled", LogicalResourceId="V", UniqueId="one", Status="FAILURE")
    until("a failed update", lambda: form.DescribeStacks(StackName="signalled")["Stacks"][0]["StackStatus"] == "UPDATE_FAILED")
    form.RollbackStack(StackName="signalled")
    aws.wait("cloudformation", "stack_rollback_complete", StackName="signalled")
    form.DeleteStack(StackName="signalled")
    aws.wait("cloudformation", "stack_delete_complete", StackName="signalled")
