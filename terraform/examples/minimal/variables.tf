variable "region" {
  description = "Region of AWS, such as eu-west-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of one, such as eu-west-1."
  }
}

variable "zone_letters" {
  description = "Zones of the region that workers may run in. More zones are more pools of spot machines."
  type        = set(string)
  default     = ["a", "b"]

  validation {
    condition     = alltrue([for letter in var.zone_letters : can(regex("^[a-p]$", letter))])
    error_message = "zone_letters are single lower-case letters."
  }
}

variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "tamer"
}

variable "owner" {
  description = "Value of the tag tamer:owner: another one for each control plane of the account."
  type        = string
  default     = "tamer"
}

variable "wheel_url" {
  description = "Tamer's wheel, which workers install at boot. Empty: container_image."
  type        = string
  default     = ""
}

variable "container_image" {
  description = "Container image that workers run instead of a wheel. Empty: wheel_url."
  type        = string
  default     = ""
}

variable "image_id" {
  description = "Machine image of workers; null: the module's, Amazon's newest for GPUs."
  type        = string
  default     = null
}

variable "control_plane_cidr_blocks" {
  description = "Networks of a control plane that is outside this network; empty: it is inside."
  type        = set(string)
  default     = []
}

variable "force_destroy_models" {
  description = "Whether terraform destroy may delete the models too."
  type        = bool
  default     = false
}
