# A network of two zones: public and private subnets, gateways, routes, security groups in both styles.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  default_tags {
    tags = { project = "network" }
  }
}

variable "change" {
  type    = bool
  default = false
}

locals {
  zones = slice(data.aws_availability_zones.available.names, 0, 2)
}

data "aws_availability_zones" "available" {
  state = "available"
}

data "aws_region" "here" {}

data "aws_caller_identity" "me" {}

resource "aws_vpc" "main" {
  cidr_block           = "10.10.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.change ? "main-changed" : "main" }
}

resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.main.id
  cidr_block              = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone       = local.zones[count.index]
  map_public_ip_on_launch = !var.change
}

resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index + 10)
  availability_zone = local.zones[count.index]
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_eip" "nat" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.main]
}

resource "aws_nat_gateway" "main" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public[0].id
  tags          = { Name = "main" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "private_out" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.main.id
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  count          = 2
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = var.change && count.index == 1 ? aws_route_table.public.id : aws_route_table.private.id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.main.id
  service_name    = "com.amazonaws.${data.aws_region.here.name}.s3"
  route_table_ids = var.change ? [aws_route_table.private.id, aws_route_table.public.id] : [aws_route_table.private.id]
}

resource "aws_vpc_endpoint" "logs" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.${data.aws_region.here.name}.logs"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.inline.id]
}

# Rules inside the group.
resource "aws_security_group" "inline" {
  name        = "inline"
  description = "rules inside"
  vpc_id      = aws_vpc.main.id
  ingress {
    description = "web"
    from_port   = 80
    to_port     = var.change ? 81 : 80
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  ingress {
    from_port       = 8080
    to_port         = 8080
    protocol        = "tcp"
    security_groups = [aws_security_group.rules.id]
    self            = true
  }
  egress {
    from_port        = 0
    to_port          = 0
    protocol         = "-1"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

# Rules as resources, old and new.
resource "aws_security_group" "rules" {
  name_prefix = "rules-"
  vpc_id      = aws_vpc.main.id
}

resource "aws_security_group_rule" "ssh" {
  type              = "ingress"
  security_group_id = aws_security_group.rules.id
  protocol          = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_blocks       = [aws_vpc.main.cidr_block]
  description       = var.change ? "from inside the network" : "from inside"
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  security_group_id = aws_security_group.rules.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = var.change ? 444 : 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.rules.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

output "imports" {
  value = {
    "aws_vpc.main"                                  = aws_vpc.main.id
    "aws_subnet.public[0]"                          = aws_subnet.public[0].id
    "aws_internet_gateway.main"                     = aws_internet_gateway.main.id
    "aws_eip.nat"                                   = aws_eip.nat.id
    "aws_nat_gateway.main"                          = aws_nat_gateway.main.id
    "aws_route_table.public"                        = aws_route_table.public.id
    "aws_route.private_out"                         = "${aws_route_table.private.id}_0.0.0.0/0"
    "aws_route_table_association.public[0]"         = "${aws_subnet.public[0].id}/${aws_route_table.public.id}"
    "aws_vpc_endpoint.s3"                           = aws_vpc_endpoint.s3.id
    "aws_vpc_endpoint.logs"                         = aws_vpc_endpoint.logs.id
    "aws_vpc_security_group_ingress_rule.web"       = aws_vpc_security_group_ingress_rule.web.id
    "aws_security_group_rule.ssh"                   = "${aws_security_group.rules.id}_ingress_tcp_22_22_${aws_vpc.main.cidr_block}"
  }
}
