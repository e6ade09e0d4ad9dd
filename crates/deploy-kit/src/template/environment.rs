//! An environment's stack: network, cluster, namespace, and the load balancer of its services.

use super::task::trust;
use super::yaml::{Out, attribute, list, map, reference, sub};
use crate::manifest::{Environment, Instances, Subnet};

/// The template of an environment. `ALBWorkloads` and `NATWorkloads` name the services that need the load balancer
/// and a way out of the private subnets; without any, there is none, and nothing to pay for.
pub fn environment(app: &str, environment: &Environment) -> String {
    let mut resources = map! {};
    vpc(environment, &mut resources);
    nat(environment, &mut resources);
    resources.explain(
        "Who reaches whom.",
        "EnvironmentSecurityGroup",
        resource(
            "AWS::EC2::SecurityGroup",
            map! {
                "GroupDescription" => sub("The tasks of ${AppName}-${EnvironmentName}"),
                "VpcId" => reference("VPC"),
            },
        ),
    );
    resources
        .set("AmongTasks", ingress("EnvironmentSecurityGroup", "EnvironmentSecurityGroup", "Tasks reach each other"));
    balancer(environment, &mut resources);
    cluster(environment, &mut resources);
    if let Some(wanted) = &environment.instances {
        instances(environment, wanted, &mut resources);
    }
    let mut document = map! {
        "AWSTemplateFormatVersion" => "2010-09-09",
        "Description" => format!("The environment {} of {app}", environment.name),
        "Parameters" => map! {
            "AppName" => text(app),
            "EnvironmentName" => text(&environment.name),
            "ALBWorkloads" => map! {
                "Type" => "String", "Default" => "",
                "Description" => "Services behind the load balancer, with commas; it is there while there are any",
            },
            "NATWorkloads" => map! {
                "Type" => "String", "Default" => "",
                "Description" => "Services in private subnets, with commas; NAT gateways are there while there are any",
            },
        },
        "Conditions" => map! {
            "HasLoadBalancer" => filled("ALBWorkloads"),
            "HasNat" => filled("NATWorkloads"),
        },
        "Resources" => resources,
    };
    if environment.instances.is_some() {
        let image = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id";
        let kind = "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>";
        if let Some(parameters) = document.field("Parameters", || map! {}) {
            parameters.set("InstanceImage", map! {"Type" => kind, "Default" => image});
        }
    }
    document.set("Outputs", outputs(environment));
    document.document()
}

fn text(default: &str) -> Out {
    map! {"Type" => "String", "Default" => default}
}

fn filled(parameter: &str) -> Out {
    map! {"Fn::Not" => list![map! {"Fn::Equals" => list![reference(parameter), ""]}]}
}

fn resource(kind: &str, properties: Out) -> Out {
    map! {"Type" => kind, "Properties" => properties}
}

fn on(condition: &str, kind: &str, properties: Out) -> Out {
    map! {"Type" => kind, "Condition" => condition, "Properties" => properties}
}

fn named(name: &str) -> Out {
    list![map! {"Key" => "Name", "Value" => sub(&format!("copilot-${{AppName}}-${{EnvironmentName}}{name}"))}]
}

fn vpc(environment: &Environment, resources: &mut Out) {
    resources.explain(
        "The network.",
        "VPC",
        resource(
            "AWS::EC2::VPC",
            map! {
                "CidrBlock" => &environment.cidr,
                "EnableDnsHostnames" => true,
                "EnableDnsSupport" => true,
                "Tags" => named(""),
            },
        ),
    );
    resources.set("InternetGateway", map! {"Type" => "AWS::EC2::InternetGateway"});
    resources.set(
        "InternetGatewayAttachment",
        resource(
            "AWS::EC2::VPCGatewayAttachment",
            map! {
                "InternetGatewayId" => reference("InternetGateway"),
                "VpcId" => reference("VPC"),
            },
        ),
    );
    resources.set("PublicRouteTable", resource("AWS::EC2::RouteTable", map! {"VpcId" => reference("VPC")}));
    resources.set(
        "DefaultPublicRoute",
        map! {
            "Type" => "AWS::EC2::Route",
            "DependsOn" => "InternetGatewayAttachment",
            "Properties" => map! {
                "RouteTableId" => reference("PublicRouteTable"),
                "DestinationCidrBlock" => "0.0.0.0/0",
                "GatewayId" => reference("InternetGateway"),
            },
        },
    );
    for (kind, subnets) in [("Public", &environment.public), ("Private", &environment.private)] {
        for (i, subnet) in subnets.iter().enumerate() {
            resources.set(format!("{kind}Subnet{}", i + 1), one_subnet(kind, i, subnet));
            if kind == "Public" {
                resources.set(
                    format!("PublicSubnet{}RouteTable", i + 1),
                    association(&format!("PublicSubnet{}", i + 1), "PublicRouteTable"),
                );
            }
        }
    }
}

fn association(subnet: &str, table: &str) -> Out {
    resource(
        "AWS::EC2::SubnetRouteTableAssociation",
        map! {
            "RouteTableId" => reference(table),
            "SubnetId" => reference(subnet),
        },
    )
}

fn one_subnet(kind: &str, i: usize, subnet: &Subnet) -> Out {
    let zone = match &subnet.az {
        Some(az) => az.into(),
        None => map! {"Fn::Select" => list![i as u64, map! {"Fn::GetAZs" => ""}]},
    };
    let mut properties = map! {
        "VpcId" => reference("VPC"),
        "CidrBlock" => &subnet.cidr,
        "AvailabilityZone" => zone,
    };
    if kind == "Public" {
        properties.set("MapPublicIpOnLaunch", true);
    }
    properties.set("Tags", named(&format!("-{}{i}", if kind == "Public" { "pub" } else { "priv" })));
    resource("AWS::EC2::Subnet", properties)
}

fn nat(environment: &Environment, resources: &mut Out) {
    for i in 1..=environment.private.len() {
        // Without a public subnet of the same number the first one's gateway is used.
        let gateway = if i <= environment.public.len() { i } else { 1 };
        if gateway == i {
            resources.set(
                format!("NatAddress{i}"),
                map! {
                    "Type" => "AWS::EC2::EIP",
                    "Condition" => "HasNat",
                    "DependsOn" => "InternetGatewayAttachment",
                    "Properties" => map! {"Domain" => "vpc"},
                },
            );
            resources.set(
                format!("NatGateway{i}"),
                on(
                    "HasNat",
                    "AWS::EC2::NatGateway",
                    map! {
                        "AllocationId" => attribute(&format!("NatAddress{i}.AllocationId")),
                        "SubnetId" => reference(&format!("PublicSubnet{i}")),
                    },
                ),
            );
        }
        let table = format!("PrivateRouteTable{i}");
        resources.set(&table, on("HasNat", "AWS::EC2::RouteTable", map! {"VpcId" => reference("VPC")}));
        resources.set(
            format!("PrivateRoute{i}"),
            on(
                "HasNat",
                "AWS::EC2::Route",
                map! {
                    "RouteTableId" => reference(&table),
                    "DestinationCidrBlock" => "0.0.0.0/0",
                    "NatGatewayId" => reference(&format!("NatGateway{gateway}")),
                },
            ),
        );
        resources.set(
            format!("PrivateSubnet{i}RouteTable"),
            on(
                "HasNat",
                "AWS::EC2::SubnetRouteTableAssociation",
                map! {
                    "RouteTableId" => reference(&table),
                    "SubnetId" => reference(&format!("PrivateSubnet{i}")),
                },
            ),
        );
    }
}

fn ingress(group: &str, from: &str, why: &str) -> Out {
    resource(
        "AWS::EC2::SecurityGroupIngress",
        map! {
            "Description" => why,
            "GroupId" => reference(group),
            "IpProtocol" => Out::Raw("'-1'".into()),
            "SourceSecurityGroupId" => reference(from),
        },
    )
}

fn balancer(environment: &Environment, resources: &mut Out) {
    let blocks: Vec<&str> = match environment.source_ips.as_slice() {
        [] => vec!["0.0.0.0/0"],
        some => some.iter().map(String::as_str).collect(),
    };
    let mut rules = Out::List(Vec::new());
    let ports: &[u64] = if environment.certificates.is_empty() { &[80] } else { &[80, 443] };
    for (port, block) in ports.iter().flat_map(|port| blocks.iter().map(move |block| (*port, *block))) {
        let family = if block.contains(':') { "CidrIpv6" } else { "CidrIp" };
        rules.push(map! {"IpProtocol" => "tcp", "FromPort" => port, "ToPort" => port, family => block});
    }
    let when = "HasLoadBalancer";
    resources.explain(
        "The load balancer, while a service needs it.",
        "PublicLoadBalancerSecurityGroup",
        on(
            when,
            "AWS::EC2::SecurityGroup",
            map! {
                "GroupDescription" => sub("The load balancer of ${AppName}-${EnvironmentName}"),
                "VpcId" => reference("VPC"),
                "SecurityGroupIngress" => rules,
            },
        ),
    );
    let mut from =
        ingress("EnvironmentSecurityGroup", "PublicLoadBalancerSecurityGroup", "The load balancer reaches tasks");
    from.set("Condition", when);
    resources.set("FromLoadBalancer", from);
    let subnets = (1..=environment.public.len()).map(|i| reference(&format!("PublicSubnet{i}")));
    resources.set(
        "PublicLoadBalancer",
        map! {
            "Type" => "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Condition" => when,
            "DependsOn" => "DefaultPublicRoute",
            "Properties" => map! {
                "Type" => "application",
                "Scheme" => "internet-facing",
                "SecurityGroups" => list![attribute("PublicLoadBalancerSecurityGroup.GroupId")],
                "Subnets" => subnets.collect::<Out>(),
            },
        },
    );
    // What no rule of a service matches.
    let nothing = list![map! {
        "Type" => "fixed-response",
        "FixedResponseConfig" => map! {
            "StatusCode" => Out::Raw("'404'".into()),
            "ContentType" => "text/plain",
            "MessageBody" => "No service has this path",
        },
    }];
    let mut listener = map! {
        "LoadBalancerArn" => reference("PublicLoadBalancer"),
        "Port" => 80u64,
        "Protocol" => "HTTP",
        "DefaultActions" => nothing.clone(),
    };
    resources.set("HTTPListener", on(when, "AWS::ElasticLoadBalancingV2::Listener", listener));
    let Some((first, more)) = environment.certificates.split_first() else { return };
    let certificate = |arn: &String| list![map! {"CertificateArn" => arn}];
    listener = map! {
        "LoadBalancerArn" => reference("PublicLoadBalancer"),
        "Port" => 443u64,
        "Protocol" => "HTTPS",
        "Certificates" => certificate(first),
        "DefaultActions" => nothing,
    };
    listener.set_some("SslPolicy", environment.ssl_policy.as_ref());
    resources.set("HTTPSListener", on(when, "AWS::ElasticLoadBalancingV2::Listener", listener));
    for (i, arn) in more.iter().enumerate() {
        resources.set(
            format!("Certificate{}", i + 2),
            on(
                when,
                "AWS::ElasticLoadBalancingV2::ListenerCertificate",
                map! {
                    "ListenerArn" => reference("HTTPSListener"),
                    "Certificates" => certificate(arn),
                },
            ),
        );
    }
}

fn cluster(environment: &Environment, resources: &mut Out) {
    let insights = if environment.container_insights { "enabled" } else { "disabled" };
    resources.explain(
        "Where tasks run, and the names by which they find each other.",
        "Cluster",
        resource(
            "AWS::ECS::Cluster",
            map! {
                "CapacityProviders" => list!["FARGATE", "FARGATE_SPOT"],
                "ClusterSettings" => list![map! {"Name" => "containerInsights", "Value" => insights}],
            },
        ),
    );
    resources.set(
        "ServiceDiscoveryNamespace",
        resource(
            "AWS::ServiceDiscovery::PrivateDnsNamespace",
            map! {
                "Name" => sub("${EnvironmentName}.${AppName}.local"),
                "Vpc" => reference("VPC"),
            },
        ),
    );
}

/// Container instances in an Auto Scaling group, as many as the tasks need.
fn instances(environment: &Environment, wanted: &Instances, resources: &mut Out) {
    let policy = "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";
    resources.explain(
        "Container instances, for services with launch_type: EC2.",
        "InstanceRole",
        resource(
            "AWS::IAM::Role",
            map! {"AssumeRolePolicyDocument" => trust("ec2.amazonaws.com"), "ManagedPolicyArns" => list![sub(policy)]},
        ),
    );
    let profile = map! {"Roles" => list![reference("InstanceRole")]};
    resources.set("InstanceProfile", resource("AWS::IAM::InstanceProfile", profile));
    let joins = sub("#!/bin/bash\necho ECS_CLUSTER=${Cluster} >> /etc/ecs/ecs.config\n");
    let data = map! {
        "ImageId" => reference("InstanceImage"),
        "InstanceType" => &wanted.kind,
        "IamInstanceProfile" => map! {"Arn" => attribute("InstanceProfile.Arn")},
        "SecurityGroupIds" => list![attribute("EnvironmentSecurityGroup.GroupId")],
        "UserData" => map! {"Fn::Base64" => joins},
    };
    resources.set("InstanceTemplate", resource("AWS::EC2::LaunchTemplate", map! {"LaunchTemplateData" => data}));
    let template = map! {
        "LaunchTemplateId" => reference("InstanceTemplate"),
        "Version" => attribute("InstanceTemplate.LatestVersionNumber"),
    };
    let subnets: Out = (1..=environment.public.len()).map(|i| reference(&format!("PublicSubnet{i}"))).collect();
    resources.set(
        "Instances",
        map! {
            "Type" => "AWS::AutoScaling::AutoScalingGroup",
            "DependsOn" => "DefaultPublicRoute",
            "Properties" => map! {
                "VPCZoneIdentifier" => subnets,
                "LaunchTemplate" => template,
                "MinSize" => wanted.min.to_string(),
                "MaxSize" => wanted.max.to_string(),
            },
        },
    );
    let provider = map! {
        "AutoScalingGroupArn" => attribute("Instances.AutoScalingGroupARN"),
        "ManagedScaling" => map! {"Status" => "ENABLED", "TargetCapacity" => 100u64},
        "ManagedTerminationProtection" => "DISABLED",
    };
    let provider = map! {"AutoScalingGroupProvider" => provider};
    resources.set("ContainerInstances", resource("AWS::ECS::CapacityProvider", provider));
    let associations = map! {
        "Cluster" => reference("Cluster"),
        "CapacityProviders" => list!["FARGATE", "FARGATE_SPOT", reference("ContainerInstances")],
        "DefaultCapacityProviderStrategy" => Out::List(Vec::new()),
    };
    let associations = resource("AWS::ECS::ClusterCapacityProviderAssociations", associations);
    resources.set("CapacityProviders", associations);
}

/// What services import.
fn outputs(environment: &Environment) -> Out {
    let mut out = map! {};
    let mut export = |name: &str, value: Out, condition: Option<&str>| {
        let mut output = map! {};
        output.set_some("Condition", condition);
        output.set("Value", value);
        output.set("Export", map! {"Name" => sub(&format!("${{AWS::StackName}}-{name}"))});
        out.set(name, output);
    };
    let joined = |kind: &str, subnets: &[Subnet]| -> Out {
        let all = (1..=subnets.len()).map(|i| reference(&format!("{kind}Subnet{i}")));
        map! {"Fn::Join" => list![",", all.collect::<Out>()]}
    };
    export("VpcId", reference("VPC"), None);
    export("PublicSubnets", joined("Public", &environment.public), None);
    export("PrivateSubnets", joined("Private", &environment.private), None);
    export("EnvironmentSecurityGroup", attribute("EnvironmentSecurityGroup.GroupId"), None);
    export("ClusterId", reference("Cluster"), None);
    export("ServiceDiscoveryNamespaceID", attribute("ServiceDiscoveryNamespace.Id"), None);
    let balanced = Some("HasLoadBalancer");
    export("PublicLoadBalancerDNS", attribute("PublicLoadBalancer.DNSName"), balanced);
    export("PublicLoadBalancerFullName", attribute("PublicLoadBalancer.LoadBalancerFullName"), balanced);
    export("HTTPListenerArn", reference("HTTPListener"), balanced);
    if !environment.certificates.is_empty() {
        export("HTTPSListenerArn", reference("HTTPSListener"), balanced);
    }
    if environment.instances.is_some() {
        export("ContainerInstances", reference("ContainerInstances"), None);
    }
    out
}
