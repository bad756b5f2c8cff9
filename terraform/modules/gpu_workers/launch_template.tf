data "aws_region" "current" {}

locals {
  # What the controller looks for, and what its permissions are tied to.
  ownership = { "tamer:owner" = var.owner }
  tags      = merge(var.tags, local.ownership)

  # Of every agent; the launch adds TAMER_JOIN_URL and its one-time TAMER_JOIN_TOKEN.
  environment = merge(
    {
      TAMER_IMDS_URL    = "http://169.254.169.254"
      AWS_REGION        = data.aws_region.current.name
      TAMER_PEER_PORT   = tostring(var.peer_port)
      TAMER_STORAGE_URL = local.storage_url
    },
    var.environment,
  )
}

# Which type, zone and market a machine has is decided at each launch (CreateFleet's overrides).
resource "aws_launch_template" "worker" {
  name_prefix            = "${var.name}-worker-"
  description            = "A Tamer GPU worker"
  image_id               = var.image_id
  vpc_security_group_ids = var.security_group_ids
  update_default_version = true
  user_data = base64encode(templatefile("${path.module}/user_data.sh.tftpl", {
    container_image = var.container_image
    environment     = local.environment
    wheel_url       = var.wheel_url
  }))
  # A worker that powers itself off is gone, and so is its bill, also when nobody is left to end it.
  instance_initiated_shutdown_behavior = "terminate"

  iam_instance_profile {
    arn = aws_iam_instance_profile.worker.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required" # IMDSv2 only
    http_put_response_hop_limit = 1          # the machine itself, no container's bridge
    instance_metadata_tags      = "disabled"
  }

  block_device_mappings {
    device_name = var.root_device_name

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  # Not the request of a spot machine: EC2 refuses a launch on demand from a template that tags one.
  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "${var.name}-worker" })
    }
  }

  tags = local.tags
}
