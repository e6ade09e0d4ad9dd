# A cluster on instances, and what belongs around it: roles, users, an Auto Scaling group as capacity provider, a repository,
# parameters, secrets, a certificate, namespaces.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  default_tags {
    tags = { project = "cluster" }
  }
}

variable "change" {
  type    = bool
  default = false
}

data "aws_availability_zones" "available" {
  state = "available"
}

data "aws_caller_identity" "me" {}

data "aws_region" "here" {}

data "aws_partition" "here" {}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
}

resource "aws_vpc" "main" {
  cidr_block = "10.30.0.0/16"
}

resource "aws_subnet" "main" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
}

# Roles and policies.
data "aws_iam_policy_document" "instances" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = var.change ? [data.aws_caller_identity.me.account_id, "111122223333"] : [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_iam_role" "instances" {
  name_prefix        = "cluster-instances-"
  path               = "/cluster/"
  assume_role_policy = data.aws_iam_policy_document.instances.json
}

resource "aws_iam_role" "tasks" {
  name               = "cluster-tasks"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
  tags               = { part = var.change ? "tasks" : "task" }
}

resource "aws_iam_role_policy_attachment" "instances" {
  role       = aws_iam_role.instances.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_role_policy_attachment" "read" {
  role       = aws_iam_role.tasks.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_role_policy" "logs" {
  name = "logs"
  role = aws_iam_role.tasks.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.change ? ["logs:CreateLogStream", "logs:PutLogEvents"] : ["logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.main.arn}:*"
    }]
  })
}

resource "aws_iam_policy" "read" {
  name        = "cluster-read"
  description = "What tasks read"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "ssm:GetParameters", Resource = [aws_ssm_parameter.plain.arn, aws_ssm_parameter.sealed.arn] },
      { Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = aws_secretsmanager_secret.database.arn },
    ]
  })
}

resource "aws_iam_instance_profile" "instances" {
  name = "cluster-instances"
  role = aws_iam_role.instances.name
}

# Instances.
resource "aws_security_group" "instances" {
  name   = "instances"
  vpc_id = aws_vpc.main.id
}

resource "aws_launch_template" "instances" {
  name_prefix            = "instances-"
  image_id               = data.aws_ssm_parameter.image.insecure_value
  instance_type          = var.change ? "t3.medium" : "t3.small"
  update_default_version = true
  vpc_security_group_ids = [aws_security_group.instances.id]
  user_data              = base64encode("#!/bin/bash\necho ECS_CLUSTER=${aws_ecs_cluster.main.name} >> /etc/ecs/ecs.config\n")
  iam_instance_profile {
    arn = aws_iam_instance_profile.instances.arn
  }
  metadata_options {
    http_tokens = "required"
  }
  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "cluster" }
  }
}

resource "aws_autoscaling_group" "instances" {
  name_prefix           = "instances-"
  min_size              = 0
  max_size              = var.change ? 3 : 2
  vpc_zone_identifier   = aws_subnet.main[*].id
  protect_from_scale_in = true
  launch_template {
    id      = aws_launch_template.instances.id
    version = aws_launch_template.instances.latest_version
  }
  tag {
    key                 = "AmazonECSManaged"
    value               = ""
    propagate_at_launch = true
  }
  lifecycle {
    ignore_changes = [desired_capacity]
  }
}

# The cluster.
resource "aws_ecs_cluster" "main" {
  name = "cluster"
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
  configuration {
    execute_command_configuration {
      logging = "DEFAULT"
    }
  }
}

resource "aws_ecs_capacity_provider" "instances" {
  name = "instances"
  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.instances.arn
    managed_termination_protection = "ENABLED"
    managed_scaling {
      status                    = "ENABLED"
      target_capacity           = var.change ? 90 : 100
      minimum_scaling_step_size = 1
      maximum_scaling_step_size = 2
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = [aws_ecs_capacity_provider.instances.name, "FARGATE", "FARGATE_SPOT"]
  default_capacity_provider_strategy {
    capacity_provider = aws_ecs_capacity_provider.instances.name
    base              = 1
    weight            = var.change ? 50 : 100
  }
}

resource "aws_cloudwatch_log_group" "main" {
  name              = "/cluster/main"
  retention_in_days = var.change ? 14 : 7
}

# Images.
resource "aws_ecr_repository" "app" {
  name                 = "cluster/app"
  image_tag_mutability = var.change ? "IMMUTABLE" : "MUTABLE"
  force_delete         = true
  image_scanning_configuration {
    scan_on_push = false
  }
}

# The provider replaces it when its policy changes.
resource "aws_ecr_lifecycle_policy" "app" {
  repository = aws_ecr_repository.app.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the last"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecr_repository_policy" "app" {
  repository = aws_ecr_repository.app.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Pull"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = var.change ? ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] : ["ecr:BatchGetImage"]
    }]
  })
}

# Parameters and secrets.
resource "aws_ssm_parameter" "plain" {
  name        = "/cluster/plain"
  description = "A plain one"
  type        = "String"
  value       = var.change ? "two" : "one"
}

resource "aws_ssm_parameter" "sealed" {
  name  = "/cluster/sealed"
  type  = "SecureString"
  value = "not to be shown"
  tags  = { version = var.change ? "2" : "1" }
}

resource "aws_secretsmanager_secret" "database" {
  name_prefix             = "cluster/database-"
  description             = var.change ? "The database, changed" : "The database"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "database" {
  secret_id     = aws_secretsmanager_secret.database.id
  secret_string = jsonencode({ user = "app", password = "not to be shown" })
}

resource "aws_acm_certificate" "shop" {
  certificate_body = var.change ? local.second_certificate : local.first_certificate
  private_key      = var.change ? local.second_key : local.first_key
}

# Names.
resource "aws_service_discovery_http_namespace" "calls" {
  name        = "cluster-calls"
  description = "Found by calls"
  tags        = { version = var.change ? "2" : "1" }
}

resource "aws_service_discovery_private_dns_namespace" "names" {
  name        = "cluster.internal"
  description = "Found by names"
  vpc         = aws_vpc.main.id
}

resource "aws_service_discovery_service" "names" {
  name        = "app"
  description = var.change ? "The app, changed" : "The app"
  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.names.id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = var.change ? 20 : 10
    }
  }
  health_check_custom_config {
    failure_threshold = 1
  }
}

resource "aws_service_discovery_service" "calls" {
  name         = "app"
  namespace_id = aws_service_discovery_http_namespace.calls.id
  type         = "HTTP"
}

# Left out: the launch template, whose update_default_version the provider does not read.
output "imports" {
  value = {
    "aws_iam_role.tasks"                                = aws_iam_role.tasks.name
    "aws_iam_role_policy.logs"                          = aws_iam_role_policy.logs.id
    "aws_iam_role_policy_attachment.read"               = "${aws_iam_role.tasks.name}/${aws_iam_policy.read.arn}"
    "aws_iam_policy.read"                               = aws_iam_policy.read.arn
    "aws_iam_instance_profile.instances"                = aws_iam_instance_profile.instances.name
    "aws_iam_user.deployer"                             = aws_iam_user.deployer.name
    "aws_iam_group.deployers"                           = aws_iam_group.deployers.name
    "aws_iam_group_policy.deploy"                       = aws_iam_group_policy.deploy.id
    "aws_iam_group_policy_attachment.read"              = "${aws_iam_group.deployers.name}/${aws_iam_policy.read.arn}"
    "aws_iam_user_group_membership.reader"              = "${aws_iam_user.reader.name}/${aws_iam_group.readers.name}"
    "aws_iam_user_policy.reader"                        = aws_iam_user_policy.reader.id
    "aws_ecs_cluster.main"                              = aws_ecs_cluster.main.name
    "aws_ecs_capacity_provider.instances"               = aws_ecs_capacity_provider.instances.arn
    "aws_ecs_cluster_capacity_providers.main"           = aws_ecs_cluster.main.name
    "aws_cloudwatch_log_group.main"                     = aws_cloudwatch_log_group.main.name
    "aws_ecr_lifecycle_policy.app"                      = aws_ecr_repository.app.name
    "aws_ecr_repository_policy.app"                     = aws_ecr_repository.app.name
    "aws_ssm_parameter.plain"                           = aws_ssm_parameter.plain.name
    "aws_ssm_parameter.sealed"                          = aws_ssm_parameter.sealed.name
    "aws_secretsmanager_secret_version.database"        = aws_secretsmanager_secret_version.database.id
    "aws_service_discovery_http_namespace.calls"        = aws_service_discovery_http_namespace.calls.id
    "aws_service_discovery_private_dns_namespace.names" = "${aws_service_discovery_private_dns_namespace.names.id}:${aws_vpc.main.id}"
    "aws_service_discovery_service.names"               = aws_service_discovery_service.names.id
  }
}
