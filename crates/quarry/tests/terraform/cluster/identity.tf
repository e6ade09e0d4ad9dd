# Users with their keys, and the group that allows them something.

resource "aws_iam_user" "deployer" {
  name                 = "deployer"
  path                 = var.change ? "/robots/" : "/people/"
  permissions_boundary = var.change ? aws_iam_policy.read.arn : null
  tags                 = { part = var.change ? "deployers" : "deployer" }
}

resource "aws_iam_user" "reader" {
  name = "reader"
}

resource "aws_iam_access_key" "deployer" {
  user   = aws_iam_user.deployer.name
  status = var.change ? "Inactive" : "Active"
}

resource "aws_iam_group" "deployers" {
  name = "deployers"
  path = var.change ? "/robots/" : "/people/"
}

resource "aws_iam_group_membership" "deployers" {
  name  = "deployers"
  group = aws_iam_group.deployers.name
  users = var.change ? [aws_iam_user.deployer.name] : [aws_iam_user.deployer.name, aws_iam_user.reader.name]
}

resource "aws_iam_group_policy" "deploy" {
  name  = "deploy"
  group = aws_iam_group.deployers.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.change ? ["ecs:UpdateService", "ecs:DescribeServices"] : ["ecs:UpdateService"]
      Resource = "*"
    }]
  })
}

resource "aws_iam_group_policy_attachment" "read" {
  group      = aws_iam_group.deployers.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_group" "readers" {
  name = "readers"
}

resource "aws_iam_user_group_membership" "reader" {
  user   = aws_iam_user.reader.name
  groups = [aws_iam_group.readers.name]
}

resource "aws_iam_user_policy" "reader" {
  name = "lists"
  user = aws_iam_user.reader.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "ecs:List*", Resource = "*" }]
  })
}

data "aws_iam_group" "deployers" {
  group_name = aws_iam_group_membership.deployers.group
}
