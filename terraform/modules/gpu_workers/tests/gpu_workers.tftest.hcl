mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/worker" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/worker" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/control-plane" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:123456789012:queue" }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-west-1:123456789012:rule/rule" }
  }
  mock_resource "aws_launch_template" {
    defaults = { arn = "arn:aws:ec2:eu-west-1:123456789012:launch-template/lt-0" }
  }
}

variables {
  name               = "tamer"
  owner              = "tests"
  security_group_ids = ["sg-0"]
  wheel_url          = "https://example.com/tamer-0.1.0-py3-none-any.whl"
}

run "machines_have_imdsv2_only_and_our_tag" {
  command = apply

  assert {
    condition     = aws_launch_template.worker.metadata_options[0].http_tokens == "required" && aws_launch_template.worker.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 alone, one hop"
  }

  assert {
    condition     = alltrue([for spec in aws_launch_template.worker.tag_specifications : spec.tags["tamer:owner"] == "tests"])
    error_message = "what a launch makes carries the tag"
  }

  # "You cannot specify tags for Spot instances requests if there are no Spot instances requests being
  # created": with them in the template EC2 would refuse every launch on demand.
  assert {
    condition     = toset([for spec in aws_launch_template.worker.tag_specifications : spec.resource_type]) == toset(["instance", "network-interface", "volume"])
    error_message = "one template serves launches on demand and on spot"
  }

  assert {
    condition     = aws_launch_template.worker.instance_initiated_shutdown_behavior == "terminate"
    error_message = "a machine that powers itself off is gone"
  }
}

run "a_launch_needs_the_tag_on_all_that_it_tags_and_on_nothing_else" {
  command = apply

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.control_plane.statement :
      toset([for resource in statement.resources : element(split(":", split("/", resource)[0]), -1)]) == toset(["fleet", "instance", "network-interface", "volume"])
      if anytrue([for condition in statement.condition : condition.variable == "aws:RequestTag/tamer:owner"])
    ])
    error_message = "the tag is asked of what carries it"
  }

  assert {
    condition = anytrue([
      for statement in data.aws_iam_policy_document.control_plane.statement :
      contains(statement.actions, "ec2:RunInstances") && length(statement.condition) == 0
      if contains(statement.resources, "arn:aws:ec2:eu-west-1:123456789012:spot-instances-request/*")
    ])
    error_message = "a spot launch makes a request, which has no tag"
  }
}

run "a_worker_may_read_models_and_nothing_else" {
  command = apply

  assert {
    condition     = toset(flatten([for statement in data.aws_iam_policy_document.worker.statement : statement.actions])) == toset(["s3:GetObject", "s3:ListBucket"])
    error_message = "least privilege of the instance profile"
  }
}

run "only_our_machines_can_be_ended" {
  command = apply

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.control_plane.statement :
      anytrue([for condition in statement.condition : condition.variable == "aws:ResourceTag/tamer:owner" && toset(condition.values) == toset(["tests"])])
      if contains(statement.actions, "ec2:TerminateInstances")
    ])
    error_message = "TerminateInstances asks for the tag"
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.control_plane.statement :
      toset(statement.resources) == toset([aws_iam_role.worker.arn])
      if contains(statement.actions, "iam:PassRole")
    ])
    error_message = "no role is lent but the workers'"
  }

  assert {
    condition     = alltrue([for statement in data.aws_iam_policy_document.control_plane.statement : !contains(statement.resources, "*") || statement.sid == "See"])
    error_message = "what changes something names what"
  }
}

run "a_container_takes_the_place_of_the_wheel" {
  command = apply

  variables {
    wheel_url       = ""
    container_image = "example.com/tamer:1"
    environment     = { TAMER_LOG_LEVEL = "debug" }
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.worker.user_data), "container='example.com/tamer:1'")
    error_message = "the image is in the user data"
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.worker.user_data), "TAMER_LOG_LEVEL:-debug")
    error_message = "a setting is in the user data"
  }
}

run "bad_input_is_named" {
  command = plan

  variables {
    owner              = "two words"
    image_id           = "ubuntu"
    wheel_url          = "http://example.com/tamer.whl"
    security_group_ids = []
    root_volume_gib    = 8
    environment        = { TAMER_JOIN_TOKEN = "secret" }
  }

  expect_failures = [var.owner, var.image_id, var.wheel_url, var.security_group_ids, var.root_volume_gib, var.environment]
}

run "a_wheel_and_a_container_are_refused" {
  command = plan

  variables {
    container_image = "example.com/tamer:1"
  }

  expect_failures = [var.container_image]
}
