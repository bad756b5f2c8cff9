locals {
  # The ports on which a worker reaches the control plane.
  control_plane_ports = toset([for port in setunion([var.api_port], var.redis_ports) : tostring(port)])

  outside_control_plane = {
    for pair in setproduct(var.outside_control_plane_cidr_blocks, local.control_plane_ports) :
    "${pair[0]}:${pair[1]}" => { cidr = pair[0], port = tonumber(pair[1]) }
  }
}

resource "aws_security_group" "workers" {
  # checkov:skip=CKV2_AWS_5:Worn by what the launch template of gpu_workers starts.
  name_prefix = "${var.name}-workers-"
  description = "GPU workers: nobody reaches them but each other, for weights."
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-workers" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "control_plane" {
  # checkov:skip=CKV2_AWS_5:Worn by the machine that runs the control plane, which is not made here.
  name_prefix = "${var.name}-control-plane-"
  description = "Control plane: its API and its Redis, for workers; its API, for clients."
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-control-plane" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "weights_of_peers" {
  security_group_id            = aws_security_group.workers.id
  referenced_security_group_id = aws_security_group.workers.id
  ip_protocol                  = "tcp"
  from_port                    = var.peer_port
  to_port                      = var.peer_port
  tags                         = merge(var.tags, { Name = "Weights, from worker to worker" })
}

resource "aws_vpc_security_group_egress_rule" "weights_to_peers" {
  security_group_id            = aws_security_group.workers.id
  referenced_security_group_id = aws_security_group.workers.id
  ip_protocol                  = "tcp"
  from_port                    = var.peer_port
  to_port                      = var.peer_port
  tags                         = merge(var.tags, { Name = "Weights, from worker to worker" })
}

resource "aws_vpc_security_group_egress_rule" "web" {
  for_each = { http = 80, https = 443 } # packages of the system, wheels, images, S3

  security_group_id = aws_security_group.workers.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  tags              = merge(var.tags, { Name = "Packages and objects by ${each.key}" })
}

resource "aws_vpc_security_group_egress_rule" "to_control_plane" {
  for_each = local.control_plane_ports

  security_group_id            = aws_security_group.workers.id
  referenced_security_group_id = aws_security_group.control_plane.id
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  tags                         = merge(var.tags, { Name = "API and Redis of the control plane" })
}

resource "aws_vpc_security_group_egress_rule" "to_outside_control_plane" {
  for_each = local.outside_control_plane

  security_group_id = aws_security_group.workers.id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  tags              = merge(var.tags, { Name = "API and Redis of a control plane elsewhere" })
}

resource "aws_vpc_security_group_ingress_rule" "from_workers" {
  for_each = local.control_plane_ports

  security_group_id            = aws_security_group.control_plane.id
  referenced_security_group_id = aws_security_group.workers.id
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  tags                         = merge(var.tags, { Name = "API and Redis, for workers" })
}

resource "aws_vpc_security_group_ingress_rule" "from_clients" {
  for_each = var.client_cidr_blocks

  security_group_id = aws_security_group.control_plane.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = var.api_port
  to_port           = var.api_port
  tags              = merge(var.tags, { Name = "API, for clients" })
}

resource "aws_vpc_security_group_egress_rule" "of_control_plane" {
  # checkov:skip=CKV_AWS_382:It calls AWS, hubs of models, a database and Redis wherever they are.
  security_group_id = aws_security_group.control_plane.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  tags              = merge(var.tags, { Name = "AWS, hubs of models, its database and Redis" })
}
