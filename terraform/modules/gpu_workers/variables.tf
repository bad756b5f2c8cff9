variable "name" {
  description = "Prefix of the names of everything that is made here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "name is 2 to 24 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "owner" {
  description = "Value of the tag tamer:owner (TAMER_AWS_OWNER): whose machines these are. The control plane sees, counts and ends machines with this value only, so two control planes in one account have two."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", var.owner))
    error_message = "owner is 1 to 64 letters, digits, dots, underscores and hyphens."
  }
}

variable "security_group_ids" {
  description = "Security groups of workers: workers_security_group_id of the network."
  type        = set(string)

  validation {
    condition     = length(var.security_group_ids) > 0
    error_message = "security_group_ids names at least one group; without one, workers would wear the network's default."
  }
}

variable "image_id" {
  description = "Machine image of workers: ami-..., or resolve:ssm:PARAMETER, which is looked up at each launch. It brings the NVIDIA driver, and Python 3.11 or newer (for wheel_url) or Docker with the NVIDIA runtime (for container_image). Pin an ami-... where boots must not change by themselves."
  type        = string
  default     = "resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
  nullable    = false

  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8,17}|resolve:ssm:/[A-Za-z0-9_./-]+)$", var.image_id))
    error_message = "image_id is ami-... or resolve:ssm:/PARAMETER."
  }
}

variable "wheel_url" {
  description = "Tamer's wheel, which workers install at boot: https://... or s3://BUCKET/KEY.whl (a bucket that workers may read: the model bucket). Empty: container_image."
  type        = string
  default     = ""

  validation {
    condition     = var.wheel_url == "" || can(regex("^(https|s3)://[A-Za-z0-9._~%+=@:/-]+[.]whl$", var.wheel_url))
    error_message = "wheel_url is https://....whl or s3://BUCKET/KEY.whl, without a query."
  }
}

variable "container_image" {
  description = "Container image that has Tamer's worker, which workers run instead of a wheel; pulled without credentials. Empty: wheel_url."
  type        = string
  default     = ""

  validation {
    condition     = var.container_image == "" || can(regex("^[a-z0-9][A-Za-z0-9._:@/-]*$", var.container_image))
    error_message = "container_image is a name as docker pull takes it."
  }

  validation {
    condition     = (var.container_image == "") != (var.wheel_url == "")
    error_message = "Give one of wheel_url and container_image."
  }
}

variable "environment" {
  description = "Further TAMER_* settings of every agent. No secrets: who may describe launch templates reads them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^(TAMER|OTEL)_[A-Z0-9_]+$", name))])
    error_message = "environment has names that start with TAMER_ or OTEL_."
  }

  validation {
    condition     = alltrue([for value in values(var.environment) : can(regex("^[^'\"\\\\\\s$`]*$", value))])
    error_message = "environment has values without spaces, quotes, backslashes and dollar signs."
  }

  validation {
    condition     = length(setintersection(keys(var.environment), ["TAMER_JOIN_URL", "TAMER_JOIN_TOKEN", "TAMER_PEER_PORT"])) == 0
    error_message = "environment leaves TAMER_JOIN_URL and TAMER_JOIN_TOKEN to the launch, and TAMER_PEER_PORT to peer_port."
  }
}

variable "peer_port" {
  description = "Port on which workers give weights to each other; the security group opens the same."
  type        = number
  default     = 7443

  validation {
    condition     = var.peer_port > 1023 && var.peer_port < 65536
    error_message = "peer_port is 1024 to 65535."
  }
}

variable "root_volume_gib" {
  description = "Size of a worker's disk in GiB: the system, Tamer (about 12 GiB with CUDA) and the models that it caches."
  type        = number
  default     = 120

  validation {
    condition     = var.root_volume_gib >= 60 && var.root_volume_gib <= 16384
    error_message = "root_volume_gib is 60 to 16384."
  }
}

variable "root_device_name" {
  description = "Name of the root device in the image (aws ec2 describe-images says RootDeviceName)."
  type        = string
  default     = "/dev/sda1"

  validation {
    condition     = startswith(var.root_device_name, "/dev/")
    error_message = "root_device_name starts with /dev/."
  }
}

variable "force_destroy_models" {
  description = "Whether terraform destroy may delete a model bucket that has models in it."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Further tags of everything that is made here."
  type        = map(string)
  default     = {}
}
