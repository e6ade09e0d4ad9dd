# Services behind a load balancer: listeners and rules, target groups, task definitions and services of both launch
# types, and what scales and watches them.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  default_tags {
    tags = { project = "service" }
  }
}

variable "change" {
  type    = bool
  default = false
}

data "aws_availability_zones" "available" {
  state = "available"
}

data "aws_region" "here" {}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
}

resource "aws_vpc" "main" {
  cidr_block = "10.40.0.0/16"
}

resource "aws_subnet" "main" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_security_group" "main" {
  name   = "service"
  vpc_id = aws_vpc.main.id
  ingress {
    from_port   = 80
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# The load balancer.
resource "aws_lb" "main" {
  name               = "service"
  load_balancer_type = "application"
  subnets            = aws_subnet.main[*].id
  security_groups    = [aws_security_group.main.id]
  idle_timeout       = var.change ? 90 : 60
  tags               = { version = var.change ? "2" : "1" }
  depends_on         = [aws_internet_gateway.main]
}

resource "aws_lb_target_group" "instances" {
  name                 = "service-instances"
  port                 = 80
  protocol             = "HTTP"
  vpc_id               = aws_vpc.main.id
  deregistration_delay = var.change ? 20 : 10
  slow_start           = 30
  health_check {
    path                = var.change ? "/health" : "/"
    matcher             = "200-299"
    interval            = 6
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
  stickiness {
    type            = "lb_cookie"
    cookie_duration = 3600
  }
}

resource "aws_lb_target_group" "addresses" {
  name                          = "service-addresses"
  port                          = 8080
  protocol                      = "HTTP"
  target_type                   = "ip"
  vpc_id                        = aws_vpc.main.id
  deregistration_delay          = 0
  load_balancing_algorithm_type = var.change ? "least_outstanding_requests" : "round_robin"
}

resource "aws_lb_target_group" "outside" {
  name                 = "service-outside"
  port                 = 9000
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = aws_vpc.main.id
  deregistration_delay = 0
}

resource "aws_lb_target_group_attachment" "outside" {
  target_group_arn = aws_lb_target_group.outside.arn
  target_id        = cidrhost(aws_subnet.main[0].cidr_block, 200)
  port             = 9001
}

resource "aws_lb_target_group_attachment" "instance" {
  target_group_arn = aws_lb_target_group.instances.arn
  target_id        = data.aws_instances.group.ids[0]
  port             = 8081
}

resource "aws_acm_certificate" "shop" {
  certificate_body = local.first_certificate
  private_key      = local.first_key
}

resource "aws_acm_certificate" "other" {
  certificate_body = local.second_certificate
  private_key      = local.second_key
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.main.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = var.change ? "HTTP_302" : "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.main.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = var.change ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : "ELBSecurityPolicy-2016-08"
  certificate_arn   = aws_acm_certificate.shop.arn
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.instances.arn
  }
}

resource "aws_lb_listener_certificate" "other" {
  listener_arn    = aws_lb_listener.https.arn
  certificate_arn = aws_acm_certificate.other.arn
}

resource "aws_lb_listener_rule" "path" {
  listener_arn = aws_lb_listener.https.arn
  priority     = var.change ? 15 : 10
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.addresses.arn
  }
  condition {
    path_pattern {
      values = var.change ? ["/api/*", "/v2/*"] : ["/api/*"]
    }
  }
}

resource "aws_lb_listener_rule" "host_and_header" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 20
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = var.change ? "changed" : "fixed"
      status_code  = "404"
    }
  }
  condition {
    host_header {
      values = ["*.shop.test"]
    }
  }
  condition {
    http_header {
      http_header_name = "X-Version"
      values           = ["1", "2"]
    }
  }
  condition {
    source_ip {
      values = ["192.0.2.0/24"]
    }
  }
}

resource "aws_lb_listener_rule" "weighted" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 30
  action {
    type = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.addresses.arn
        weight = var.change ? 50 : 90
      }
      target_group {
        arn    = aws_lb_target_group.outside.arn
        weight = var.change ? 50 : 10
      }
      stickiness {
        enabled  = true
        duration = 600
      }
    }
  }
  condition {
    query_string {
      key   = "canary"
      value = "yes"
    }
  }
  condition {
    http_request_method {
      values = ["GET", "HEAD"]
    }
  }
}

resource "aws_lb_listener_rule" "redirect" {
  listener_arn = aws_lb_listener.http.arn
  priority     = 5
  action {
    type = "redirect"
    redirect {
      host        = "www.shop.test"
      path        = "/moved/#{path}"
      query       = "from=#{host}"
      status_code = "HTTP_302"
    }
  }
  condition {
    host_header {
      values = ["shop.test"]
    }
  }
}

# Instances that stand behind it.
resource "aws_launch_template" "group" {
  name                   = "service"
  image_id               = data.aws_ssm_parameter.image.insecure_value
  instance_type          = "t3.small"
  vpc_security_group_ids = [aws_security_group.main.id]
}

resource "aws_autoscaling_group" "group" {
  name                = "service"
  min_size            = 1
  max_size            = 1
  vpc_zone_identifier = aws_subnet.main[*].id
  launch_template {
    id      = aws_launch_template.group.id
    version = "$Latest"
  }
}

resource "aws_autoscaling_attachment" "group" {
  autoscaling_group_name = aws_autoscaling_group.group.name
  lb_target_group_arn    = aws_lb_target_group.instances.arn
}

data "aws_instances" "group" {
  instance_state_names = ["pending", "running"]
  filter {
    name   = "tag:aws:autoscaling:groupName"
    values = [aws_autoscaling_group.group.name]
  }
}

# Tasks and services.
resource "aws_iam_role" "execution" {
  name = "service-execution"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

resource "aws_cloudwatch_log_group" "main" {
  name = "/service/main"
}

resource "aws_ecs_cluster" "main" {
  name = "service"
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_ecs_task_definition" "bridge" {
  family       = "service-bridge"
  network_mode = "bridge"
  volume {
    name = "data"
    docker_volume_configuration {
      scope         = "shared"
      autoprovision = true
    }
  }
  container_definitions = jsonencode([{
    name         = "web"
    image        = "web:1"
    cpu          = 128
    memory       = 128
    essential    = true
    portMappings = [{ containerPort = 80, hostPort = 0, protocol = "tcp" }]
    mountPoints  = [{ sourceVolume = "data", containerPath = "/data", readOnly = true }]
    environment  = [{ name = "MODE", value = "bridge" }]
  }])
}

resource "aws_ecs_task_definition" "fargate" {
  family                   = "service-fargate"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions = jsonencode([{
    name         = "api"
    image        = "api:1"
    essential    = true
    portMappings = [{ containerPort = 8080, protocol = "tcp" }]
    healthCheck  = { command = ["CMD", "/api", "check"], interval = 10, timeout = 2, retries = 3, startPeriod = 0 }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.main.name
        awslogs-region        = data.aws_region.here.name
        awslogs-stream-prefix = "api"
      }
    }
  }])
}

resource "aws_ecs_service" "bridge" {
  name                               = "bridge"
  cluster                            = aws_ecs_cluster.main.id
  task_definition                    = aws_ecs_task_definition.bridge.arn
  desired_count                      = 0
  launch_type                        = "EC2"
  deployment_minimum_healthy_percent = var.change ? 0 : 50
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = 30
  alarms {
    alarm_names = ["service-busy"]
    enable      = var.change
    rollback    = var.change
  }
  ordered_placement_strategy {
    type  = "spread"
    field = "instanceId"
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.instances.arn
    container_name   = "web"
    container_port   = 80
  }
  depends_on = [aws_lb_listener.https]
}

resource "aws_ecs_service" "fargate" {
  name            = "fargate"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.fargate.arn
  desired_count   = 0
  launch_type     = "FARGATE"
  propagate_tags  = var.change ? "TASK_DEFINITION" : "SERVICE"
  network_configuration {
    subnets          = aws_subnet.main[*].id
    security_groups  = [aws_security_group.main.id]
    assign_public_ip = false
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = var.change
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.addresses.arn
    container_name   = "api"
    container_port   = 8080
  }
  lifecycle {
    ignore_changes = [desired_count]
  }
  depends_on = [aws_lb_listener_rule.path]
}

# Scaling.
resource "aws_appautoscaling_target" "fargate" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.fargate.name}"
  min_capacity       = 0
  max_capacity       = var.change ? 4 : 2
}

resource "aws_appautoscaling_policy" "processor" {
  name               = "processor"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.fargate.service_namespace
  scalable_dimension = aws_appautoscaling_target.fargate.scalable_dimension
  resource_id        = aws_appautoscaling_target.fargate.resource_id
  target_tracking_scaling_policy_configuration {
    target_value       = var.change ? 60 : 50
    scale_in_cooldown  = 120
    scale_out_cooldown = 30
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "requests" {
  name               = "requests"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.fargate.service_namespace
  scalable_dimension = aws_appautoscaling_target.fargate.scalable_dimension
  resource_id        = aws_appautoscaling_target.fargate.resource_id
  target_tracking_scaling_policy_configuration {
    target_value = 1000
    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "${aws_lb.main.arn_suffix}/${aws_lb_target_group.addresses.arn_suffix}"
    }
  }
}

resource "aws_appautoscaling_policy" "steps" {
  name               = "steps"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.fargate.service_namespace
  scalable_dimension = aws_appautoscaling_target.fargate.scalable_dimension
  resource_id        = aws_appautoscaling_target.fargate.resource_id
  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = var.change ? 120 : 60
    metric_aggregation_type = "Maximum"
    step_adjustment {
      metric_interval_lower_bound = 0
      metric_interval_upper_bound = 20
      scaling_adjustment          = 1
    }
    step_adjustment {
      metric_interval_lower_bound = 20
      scaling_adjustment          = 2
    }
  }
}

resource "aws_appautoscaling_scheduled_action" "night" {
  name               = "night"
  service_namespace  = aws_appautoscaling_target.fargate.service_namespace
  scalable_dimension = aws_appautoscaling_target.fargate.scalable_dimension
  resource_id        = aws_appautoscaling_target.fargate.resource_id
  schedule           = "cron(0 22 * * ? *)"
  timezone           = "Europe/Berlin"
  scalable_target_action {
    min_capacity = 0
    max_capacity = var.change ? 2 : 1
  }
}

resource "aws_cloudwatch_metric_alarm" "busy" {
  alarm_name          = "service-busy"
  alarm_description   = "The service is busy"
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  statistic           = "Average"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.change ? 80 : 70
  period              = 60
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.steps.arn]
  dimensions = {
    ClusterName = aws_ecs_cluster.main.name
    ServiceName = aws_ecs_service.fargate.name
  }
}

# Left out: services, and listeners that forward, which the provider itself plans to update after an import (their
# wait_for_steady_state and forward block).
output "imports" {
  value = {
    "aws_lb.main"                          = aws_lb.main.arn
    "aws_lb_target_group.addresses"        = aws_lb_target_group.addresses.arn
    "aws_lb_listener.http"                 = aws_lb_listener.http.arn
    "aws_lb_listener_certificate.other"    = aws_lb_listener_certificate.other.id
    "aws_lb_listener_rule.path"            = aws_lb_listener_rule.path.arn
    "aws_lb_listener_rule.host_and_header" = aws_lb_listener_rule.host_and_header.arn
    "aws_lb_listener_rule.weighted"        = aws_lb_listener_rule.weighted.arn
    "aws_lb_listener_rule.redirect"        = aws_lb_listener_rule.redirect.arn
    "aws_ecs_task_definition.fargate"      = aws_ecs_task_definition.fargate.arn
    "aws_appautoscaling_target.fargate"    = "ecs/${aws_appautoscaling_target.fargate.resource_id}/ecs:service:DesiredCount"
    "aws_appautoscaling_policy.processor"  = "ecs/${aws_appautoscaling_target.fargate.resource_id}/ecs:service:DesiredCount/processor"
    "aws_appautoscaling_policy.steps"      = "ecs/${aws_appautoscaling_target.fargate.resource_id}/ecs:service:DesiredCount/steps"
    "aws_cloudwatch_metric_alarm.busy"     = aws_cloudwatch_metric_alarm.busy.alarm_name
  }
}
