output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "subnets" {
  description = "Zone to subnet: where a machine is launched to be in that zone (TAMER_AWS_SUBNETS)."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }
}

output "workers_security_group_id" {
  description = "What workers wear; gpu_workers puts it into the launch template."
  value       = aws_security_group.workers.id
}

output "control_plane_security_group_id" {
  description = "What the machine of the control plane wears, if it is in this network."
  value       = aws_security_group.control_plane.id
}

output "peer_port" {
  description = "Port on which workers give weights to each other, for gpu_workers."
  value       = var.peer_port
}
