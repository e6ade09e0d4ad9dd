data "aws_region" "current" {}

locals {
  task = {
    family = var.name
    log = { for name in ["user", "order", "gateway"] : name => {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.main.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = name
      }
    } }
  }
}

resource "aws_cloudwatch_log_group" "main" {
  name              = "/ecs/${var.name}"
  retention_in_days = 7
}

resource "aws_iam_role" "execution" {
  name_prefix = "${var.name}-execution-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_ecs_task_definition" "user" {
  family                   = "${local.task.family}-user"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn

  container_definitions = jsonencode([{
    name             = "user"
    image            = var.images.user
    essential        = true
    portMappings     = [{ containerPort = 8080, protocol = "tcp" }]
    logConfiguration = local.task.log["user"]
  }])
}

resource "aws_ecs_task_definition" "order" {
  family                   = "${local.task.family}-order"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn

  container_definitions = jsonencode([{
    name             = "order"
    image            = var.images.order
    essential        = true
    portMappings     = [{ containerPort = 8080, protocol = "tcp" }]
    logConfiguration = local.task.log["order"]
  }])
}

resource "aws_ecs_task_definition" "gateway" {
  family                   = "${local.task.family}-gateway"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn

  container_definitions = jsonencode([{
    name         = "gateway"
    image        = var.images.gateway
    essential    = true
    portMappings = [{ containerPort = 8080, protocol = "tcp" }]
    environment = [
      { name = "USERS_URL", value = "http://users.${var.name}.local:8080" },
      { name = "ORDERS_URL", value = "http://orders.${var.name}.local:8080" },
    ]
    logConfiguration = local.task.log["gateway"]
  }])
}
