module "network" {
  source = "../../modules/network"

  name                              = var.name
  availability_zones                = [for letter in var.zone_letters : "${var.region}${letter}"]
  outside_control_plane_cidr_blocks = var.control_plane_cidr_blocks
}

module "gpu_workers" {
  source = "../../modules/gpu_workers"

  name                 = var.name
  owner                = var.owner
  security_group_ids   = [module.network.workers_security_group_id]
  peer_port            = module.network.peer_port
  image_id             = var.image_id
  wheel_url            = var.wheel_url
  container_image      = var.container_image
  force_destroy_models = var.force_destroy_models
}
