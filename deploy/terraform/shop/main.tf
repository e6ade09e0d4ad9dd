# The shop: user-service and order-service, found by name, behind api-gateway, which is behind the load balancer.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {}

resource "aws_ecs_cluster" "main" {
  name = var.name

  # The services look their networks up by the cluster's name.
  depends_on = [aws_subnet.main, aws_security_group.services, aws_route_table_association.main]
}

resource "aws_service_discovery_private_dns_namespace" "main" {
  name        = "${var.name}.local"
  description = "Names of the services of ${var.name}"
  vpc         = aws_vpc.main.id
}

module "user_service" {
  source = "../modules/ecs-service"

  service_name        = "user-service"
  cluster_arn         = aws_ecs_cluster.main.arn
  task_definition_arn = aws_ecs_task_definition.user.arn
  desired_count       = 2

  service_discovery = {
    namespace_id = aws_service_discovery_private_dns_namespace.main.id
    dns_name     = "users"
  }
}

module "order_service" {
  source = "../modules/ecs-service"

  service_name        = "order-service"
  cluster_arn         = aws_ecs_cluster.main.arn
  task_definition_arn = aws_ecs_task_definition.order.arn
  desired_count       = 3

  service_discovery = {
    namespace_id = aws_service_discovery_private_dns_namespace.main.id
    dns_name     = "orders"
  }
}

module "api_gateway" {
  source = "../modules/ecs-service"

  service_name        = "api-gateway"
  cluster_arn         = aws_ecs_cluster.main.arn
  task_definition_arn = aws_ecs_task_definition.gateway.arn
  desired_count       = 2

  load_balancer = {
    target_group_arn = aws_lb_target_group.gateway.arn
    container_name   = "gateway"
    container_port   = 8080
  }

  depends_on = [aws_lb_listener.http]
}
