# One service of many on a cluster: found by others under a name, or behind a load balancer, or both.
#
# Where its tasks have network interfaces of their own (network mode awsvpc), they go into the subnets and security
# groups that carry the tag Cluster = <name of the cluster>: which networks a cluster uses is said once, there, and not
# by every service again.

locals {
  cluster_name = element(split("/", var.cluster_arn), 1)
  awsvpc       = data.aws_ecs_task_definition.this.network_mode == "awsvpc"
}

data "aws_ecs_task_definition" "this" {
  task_definition = var.task_definition_arn
}

data "aws_subnets" "cluster" {
  filter {
    name   = "tag:Cluster"
    values = [local.cluster_name]
  }
}

data "aws_security_groups" "cluster" {
  filter {
    name   = "tag:Cluster"
    values = [local.cluster_name]
  }
}

resource "aws_ecs_service" "this" {
  name            = var.service_name
  cluster         = var.cluster_arn
  task_definition = var.task_definition_arn
  desired_count   = var.desired_count
  launch_type     = contains(data.aws_ecs_task_definition.this.requires_compatibilities, "FARGATE") ? "FARGATE" : "EC2"
  propagate_tags  = "SERVICE"

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  dynamic "network_configuration" {
    for_each = local.awsvpc ? [1] : []
    content {
      subnets         = data.aws_subnets.cluster.ids
      security_groups = data.aws_security_groups.cluster.ids
    }
  }

  dynamic "service_registries" {
    for_each = var.service_discovery == null ? [] : [1]
    content {
      registry_arn = aws_service_discovery_service.this[0].arn
    }
  }

  dynamic "load_balancer" {
    for_each = var.load_balancer == null ? [] : [var.load_balancer]
    content {
      target_group_arn = load_balancer.value.target_group_arn
      container_name   = load_balancer.value.container_name
      container_port   = load_balancer.value.container_port
    }
  }
}

resource "aws_service_discovery_service" "this" {
  count = var.service_discovery == null ? 0 : 1
  name  = var.service_discovery.dns_name

  dns_config {
    namespace_id   = var.service_discovery.namespace_id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 10
    }
  }

  health_check_custom_config {
    failure_threshold = 1
  }
}
