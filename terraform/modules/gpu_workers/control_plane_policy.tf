data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  # Every ARN of EC2 in this region and account begins so; images, snapshots and parameters of Amazon's
  # belong to no account of ours.
  ec2        = "arn:${data.aws_partition.current.partition}:ec2:${data.aws_region.current.name}"
  ours       = "${local.ec2}:${data.aws_caller_identity.current.account_id}"
  image_name = trimprefix(var.image_id, "resolve:ssm:")
}

# What the controller and its tasks may do: start machines of our template that carry our tag, end
# machines that carry it, hear of interruptions, keep models.
data "aws_iam_policy_document" "control_plane" {
  # checkov:skip=CKV_AWS_356:EC2's Describe actions know no resources.
  statement {
    sid = "See"
    actions = [
      "ec2:DescribeAvailabilityZones",
      "ec2:DescribeFleetInstances",
      "ec2:DescribeFleets",
      "ec2:DescribeImages",
      "ec2:DescribeInstances",
      "ec2:DescribeInstanceStatus",
      "ec2:DescribeInstanceTypeOfferings",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeLaunchTemplates",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:DescribeSpotPriceHistory",
      "ec2:DescribeSubnets",
      "ec2:DescribeTags",
      "ec2:DescribeVolumes",
      "ec2:GetSpotPlacementScores",
    ]
    resources = ["*"]
  }

  statement {
    sid     = "LaunchFromOurTemplate"
    actions = ["ec2:CreateFleet", "ec2:RunInstances"]
    resources = concat(
      [aws_launch_template.worker.arn],
      [for group in var.security_group_ids : "${local.ours}:security-group/${group}"],
      ["${local.ours}:subnet/*", "${local.ec2}::image/*", "${local.ec2}::snapshot/*"],
      ["${local.ours}:image/*", "${local.ours}:snapshot/*"],
      # What a spot launch asks with; it is gone with its machine, which has to carry our tag.
      ["${local.ours}:spot-instances-request/*"],
    )
  }

  statement {
    sid       = "LaunchWithOurTag"
    actions   = ["ec2:CreateFleet", "ec2:RunInstances"]
    resources = local.launched

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/tamer:owner"
      values   = [var.owner]
    }
  }

  # Tags are written at a launch and never afterwards: who could tag could make any machine ours.
  statement {
    sid       = "TagWhatIsLaunched"
    actions   = ["ec2:CreateTags"]
    resources = local.launched

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/tamer:owner"
      values   = [var.owner]
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["CreateFleet", "RunInstances"]
    }
  }

  statement {
    sid       = "EndOurs"
    actions   = ["ec2:DeleteFleets", "ec2:TerminateInstances"]
    resources = ["${local.ours}:fleet/*", "${local.ours}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/tamer:owner"
      values   = [var.owner]
    }
  }

  statement {
    sid       = "LendTheWorkersRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.worker.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  # An account that never used spot machines or fleets gets EC2's own roles at the first launch.
  statement {
    sid       = "RolesOfSpotAndFleet"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${data.aws_partition.current.partition}:iam::*:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["ec2fleet.amazonaws.com", "spot.amazonaws.com"]
    }
  }

  statement {
    sid = "HearOfInterruptions"
    actions = [
      "sqs:ChangeMessageVisibility",
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:ReceiveMessage",
    ]
    resources = [aws_sqs_queue.events.arn]
  }

  statement {
    sid = "KeepModels"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    resources = ["${aws_s3_bucket.models.arn}/*"]
  }

  statement {
    sid       = "ListModels"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.models.arn]
  }

  dynamic "statement" {
    for_each = startswith(var.image_id, "resolve:ssm:") ? [local.image_name] : []

    content {
      sid     = "FindTheImage"
      actions = ["ssm:GetParameters"]
      # Parameters of Amazon's own have no account in their ARN; another has ours.
      resources = [for account in ["", data.aws_caller_identity.current.account_id] :
        "arn:${data.aws_partition.current.partition}:ssm:${data.aws_region.current.name}:${account}:parameter${statement.value}"
      ]
    }
  }
}

locals {
  launched = [
    for kind in ["fleet", "instance", "network-interface", "volume"] :
    "${local.ours}:${kind}/*"
  ]
}

resource "aws_iam_policy" "control_plane" {
  name_prefix = "${var.name}-control-plane-"
  description = "Tamer's controller and tasks: machines that carry tamer:owner=${var.owner}, their events, their models"
  policy      = data.aws_iam_policy_document.control_plane.json
  tags        = local.tags
}
