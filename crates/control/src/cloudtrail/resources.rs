//! The resources of an event: what its parameters and its answer name.

use quarry_aws::cloudtrail::Resource;
use serde_json::{Map, Value};

/// Sources of events, members that name a resource, and its type.
const NAMES: &[(&str, &str, &str)] = &[
    ("acm", "certificateArn", "AWS::ACM::Certificate"),
    ("autoscaling", "autoScalingGroupName", "AWS::AutoScaling::AutoScalingGroup"),
    ("autoscaling", "launchConfigurationName", "AWS::AutoScaling::LaunchConfiguration"),
    ("cloudformation", "stackId", "AWS::CloudFormation::Stack"),
    ("cloudformation", "stackName", "AWS::CloudFormation::Stack"),
    ("ec2", "allocationId", "AWS::EC2::EIP"),
    ("ec2", "groupId", "AWS::EC2::SecurityGroup"),
    ("ec2", "instanceId", "AWS::EC2::Instance"),
    ("ec2", "internetGatewayId", "AWS::EC2::InternetGateway"),
    ("ec2", "launchTemplateId", "AWS::EC2::LaunchTemplate"),
    ("ec2", "natGatewayId", "AWS::EC2::NatGateway"),
    ("ec2", "networkInterfaceId", "AWS::EC2::NetworkInterface"),
    ("ec2", "routeTableId", "AWS::EC2::RouteTable"),
    ("ec2", "subnetId", "AWS::EC2::Subnet"),
    ("ec2", "vpcEndpointId", "AWS::EC2::VPCEndpoint"),
    ("ec2", "vpcId", "AWS::EC2::VPC"),
    ("ecr", "repositoryName", "AWS::ECR::Repository"),
    ("ecs", "cluster", "AWS::ECS::Cluster"),
    ("ecs", "clusterName", "AWS::ECS::Cluster"),
    ("ecs", "service", "AWS::ECS::Service"),
    ("ecs", "serviceName", "AWS::ECS::Service"),
    ("ecs", "taskDefinition", "AWS::ECS::TaskDefinition"),
    ("ecs", "taskDefinitionArn", "AWS::ECS::TaskDefinition"),
    ("elasticloadbalancing", "listenerArn", "AWS::ElasticLoadBalancingV2::Listener"),
    ("elasticloadbalancing", "loadBalancerArn", "AWS::ElasticLoadBalancingV2::LoadBalancer"),
    ("elasticloadbalancing", "ruleArn", "AWS::ElasticLoadBalancingV2::ListenerRule"),
    ("elasticloadbalancing", "targetGroupArn", "AWS::ElasticLoadBalancingV2::TargetGroup"),
    ("iam", "accessKeyId", "AWS::IAM::AccessKey"),
    ("iam", "groupName", "AWS::IAM::Group"),
    ("iam", "instanceProfileName", "AWS::IAM::InstanceProfile"),
    ("iam", "policyArn", "AWS::IAM::Policy"),
    ("iam", "policyName", "AWS::IAM::Policy"),
    ("iam", "roleName", "AWS::IAM::Role"),
    ("iam", "userName", "AWS::IAM::User"),
    ("logs", "logGroupName", "AWS::Logs::LogGroup"),
    ("monitoring", "alarmName", "AWS::CloudWatch::Alarm"),
    ("secretsmanager", "name", "AWS::SecretsManager::Secret"),
    ("secretsmanager", "secretId", "AWS::SecretsManager::Secret"),
    ("servicediscovery", "namespaceId", "AWS::ServiceDiscovery::Namespace"),
    ("servicediscovery", "serviceId", "AWS::ServiceDiscovery::Service"),
    ("ssm", "name", "AWS::SSM::Parameter"),
    ("sts", "roleArn", "AWS::IAM::Role"),
];

/// The resources that a record names, in the order in which it does; each once.
pub fn of(source: &str, record: &str) -> Vec<Resource> {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let source = source.split('.').next().unwrap_or_default();
    let mut found: Vec<Resource> = Vec::new();
    for part in ["requestParameters", "responseElements"] {
        let Some(members) = record[part].as_object() else { continue };
        named(source, members, &mut found);
        // Answers hold what was made in a member of their own.
        members.values().filter_map(Value::as_object).for_each(|members| named(source, members, &mut found));
    }
    found
}

fn named(source: &str, members: &Map<String, Value>, found: &mut Vec<Resource>) {
    for (_, member, kind) in NAMES.iter().filter(|(of, ..)| *of == source) {
        let Some(name) = members.get(*member).and_then(Value::as_str) else { continue };
        let resource = Resource { resource_type: Some((*kind).to_owned()), resource_name: Some(name.to_owned()) };
        if !found.contains(&resource) {
            found.push(resource);
        }
    }
}
