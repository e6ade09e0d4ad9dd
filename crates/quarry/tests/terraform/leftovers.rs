//! What a platform has, by the APIs: compared before and after, so that nothing is left over.

use quarry_aws::{autoscaling, ec2, ecr, ecs, elbv2, iam, logs};
use quarry_client::Client;
use quarry_testkit::Platform;
use quarry_wire::Operation;
use std::collections::BTreeSet;

/// Kind and identifier of everything that lives. What AWS, too, keeps showing for a while — terminated
/// instances, deleted NAT gateways, inactive clusters and task definitions — does not count.
pub fn seen(platform: &Platform) -> BTreeSet<(&'static str, String)> {
    let client = platform.client().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(all(&client))
}

async fn pages<O: Operation>(client: &Client) -> Vec<O::Output>
where
    O::Input: Default,
{
    client.paginate::<O>(O::Input::default()).await.unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
}

/// All values of a list's member, over all pages.
macro_rules! each {
    ($client:expr, $seen:expr, $operation:ty, $list:ident, $id:expr) => {
        for page in pages::<$operation>($client).await {
            for item in page.$list.unwrap_or_default() {
                let identify = $id;
                if let Some(id) = identify(item) {
                    $seen.insert((<$operation as Operation>::NAME, id));
                }
            }
        }
    };
}

async fn all(client: &Client) -> BTreeSet<(&'static str, String)> {
    let mut seen = BTreeSet::new();
    let c = client;
    each!(c, seen, ec2::op::DescribeVpcs, vpcs, |i: ec2::Vpc| i.vpc_id);
    each!(c, seen, ec2::op::DescribeSubnets, subnets, |i: ec2::Subnet| i.subnet_id);
    each!(c, seen, ec2::op::DescribeRouteTables, route_tables, |i: ec2::RouteTable| i.route_table_id);
    each!(c, seen, ec2::op::DescribeInternetGateways, internet_gateways, |i: ec2::InternetGateway| {
        i.internet_gateway_id
    });
    each!(c, seen, ec2::op::DescribeSecurityGroups, security_groups, |i: ec2::SecurityGroup| i.group_id);
    each!(c, seen, ec2::op::DescribeAddresses, addresses, |i: ec2::Address| i.allocation_id);
    each!(c, seen, ec2::op::DescribeVpcEndpoints, vpc_endpoints, |i: ec2::VpcEndpoint| i.vpc_endpoint_id);
    each!(c, seen, ec2::op::DescribeNetworkInterfaces, network_interfaces, |i: ec2::NetworkInterface| {
        i.network_interface_id
    });
    each!(c, seen, ec2::op::DescribeNatGateways, nat_gateways, |i: ec2::NatGateway| {
        i.nat_gateway_id.filter(|_| i.state.as_deref() != Some("deleted"))
    });
    each!(c, seen, ec2::op::DescribeLaunchTemplates, launch_templates, |i: ec2::LaunchTemplate| {
        i.launch_template_id
    });
    each!(c, seen, ec2::op::DescribeInstanceStatus, instance_statuses, |i: ec2::InstanceStatus| i.instance_id);
    each!(
        c,
        seen,
        autoscaling::op::DescribeAutoScalingGroups,
        auto_scaling_groups,
        |i: autoscaling::AutoScalingGroup| { i.auto_scaling_group_name }
    );
    each!(
        c,
        seen,
        autoscaling::op::DescribeLaunchConfigurations,
        launch_configurations,
        |i: autoscaling::LaunchConfiguration| i.launch_configuration_name
    );
    each!(c, seen, ecs::op::ListClusters, cluster_arns, Some);
    each!(c, seen, ecs::op::ListTaskDefinitions, task_definition_arns, Some);
    each!(c, seen, ecs::op::DescribeCapacityProviders, capacity_providers, |i: ecs::CapacityProvider| {
        i.name.filter(|_| i.status.as_deref() != Some("INACTIVE"))
    });
    each!(c, seen, elbv2::op::DescribeLoadBalancers, load_balancers, |i: elbv2::LoadBalancer| i.load_balancer_arn);
    each!(c, seen, elbv2::op::DescribeTargetGroups, target_groups, |i: elbv2::TargetGroup| i.target_group_arn);
    each!(c, seen, ecr::op::DescribeRepositories, repositories, |i: ecr::Repository| i.repository_name);
    each!(c, seen, logs::op::DescribeLogGroups, log_groups, |i: logs::LogGroup| i.log_group_name);
    each!(c, seen, iam::op::ListRoles, roles, |i: iam::Role| {
        // Made by AWS on first use, and kept.
        i.role_name.filter(|name| !name.starts_with("AWSServiceRoleFor"))
    });
    each!(c, seen, iam::op::ListUsers, users, |i: iam::User| i.user_name);
    each!(c, seen, iam::op::ListGroups, groups, |i: iam::Group| i.group_name);
    each!(c, seen, iam::op::ListInstanceProfiles, instance_profiles, |i: iam::InstanceProfile| {
        i.instance_profile_name
    });
    let local = iam::ListPoliciesRequest { scope: Some("Local".into()), ..Default::default() };
    for page in client.paginate::<iam::op::ListPolicies>(local).await.unwrap() {
        seen.extend(page.policies.unwrap_or_default().into_iter().filter_map(|i| Some(("ListPolicies", i.arn?))));
    }
    seen
}
