locals {
  # EventBridge cannot filter these by tag, so the queue hears of all machines of the account in this
  # region; the controller acts on its own.
  events = {
    interruption = "EC2 Spot Instance Interruption Warning"
    rebalance    = "EC2 Instance Rebalance Recommendation"
  }
  sqs          = "arn:${data.aws_partition.current.partition}:sqs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  event_queues = { events = "${var.name}-events", dead = "${var.name}-dead-events" }
}

resource "aws_sqs_queue" "dead_events" {
  name                      = local.event_queues.dead
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  policy                    = data.aws_iam_policy_document.events["dead"].json
  tags                      = local.tags
}

resource "aws_sqs_queue" "events" {
  name = local.event_queues.events
  # A warning comes two minutes ahead: what was not acted upon is told again in time.
  visibility_timeout_seconds = 20
  # A machine of an older warning is gone; that it is missing says the same.
  message_retention_seconds = 600
  receive_wait_time_seconds = 20
  sqs_managed_sse_enabled   = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_events.arn
    maxReceiveCount     = 10
  })
  policy = data.aws_iam_policy_document.events["events"].json
  tags   = local.tags
}

resource "aws_cloudwatch_event_rule" "spot" {
  for_each = local.events

  name_prefix   = "${var.name}-${each.key}-"
  description   = each.value
  event_pattern = jsonencode({ source = ["aws.ec2"], detail-type = [each.value] })
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "queue" {
  for_each = aws_cloudwatch_event_rule.spot

  rule = each.value.name
  arn  = aws_sqs_queue.events.arn

  dead_letter_config {
    arn = aws_sqs_queue.dead_events.arn
  }
}

data "aws_iam_policy_document" "events" {
  for_each = local.event_queues

  statement {
    sid       = "OurRules"
    actions   = ["sqs:SendMessage"]
    resources = ["${local.sqs}:${each.value}"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [for rule in aws_cloudwatch_event_rule.spot : rule.arn]
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = ["${local.sqs}:${each.value}"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
