output "launch_template_id" {
  description = "What workers are launched from (TAMER_AWS_LAUNCH_TEMPLATE)."
  value       = aws_launch_template.worker.id
}

output "events_queue_url" {
  description = "Queue of spot interruptions and rebalance recommendations (TAMER_AWS_EVENTS_QUEUE_URL)."
  value       = aws_sqs_queue.events.url
}

output "dead_events_queue_url" {
  description = "Events that could not be delivered, or that were received ten times and never acted upon."
  value       = aws_sqs_queue.dead_events.url
}

output "storage_url" {
  description = "Where models are kept (TAMER_STORAGE_URL)."
  value       = local.storage_url
}

output "owner" {
  description = "Value of the tag tamer:owner (TAMER_AWS_OWNER)."
  value       = var.owner
}

output "worker_role_arn" {
  description = "Role of the instance profile: reads the model bucket, and nothing else."
  value       = aws_iam_role.worker.arn
}

output "control_plane_policy_arn" {
  description = "Policy to attach to the role that the control plane runs under."
  value       = aws_iam_policy.control_plane.arn
}

output "control_plane_policy_json" {
  description = "The same policy as a document, for a role that is managed elsewhere."
  value       = data.aws_iam_policy_document.control_plane.json
}
