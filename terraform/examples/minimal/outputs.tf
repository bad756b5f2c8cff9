locals {
  # Names of settings (docs/configuration.md), values as they are written in an environment.
  settings = {
    cloud                = "aws"
    storage_url          = module.gpu_workers.storage_url
    aws_region           = var.region
    aws_launch_template  = module.gpu_workers.launch_template_id
    aws_subnets          = join(",", [for zone, subnet in module.network.subnets : "${zone}=${subnet}"])
    aws_events_queue_url = module.gpu_workers.events_queue_url
    aws_owner            = module.gpu_workers.owner
  }
}

output "tamer_toml" {
  description = "Settings of the control plane, for $TAMER_HOME/tamer.toml."
  value       = join("", [for name, value in local.settings : "${name} = ${jsonencode(value)}\n"])
}

output "tamer_environment" {
  description = "The same settings as TAMER_* variables."
  value       = { for name, value in local.settings : "TAMER_${upper(name)}" => value }
}

output "control_plane_policy_arn" {
  description = "Policy to attach to the role that the control plane runs under."
  value       = module.gpu_workers.control_plane_policy_arn
}

output "control_plane_security_group_id" {
  description = "What the machine of the control plane wears, if it is in this network."
  value       = module.network.control_plane_security_group_id
}

output "dead_events_queue_url" {
  description = "Events that nobody acted upon; worth an alarm."
  value       = module.gpu_workers.dead_events_queue_url
}
