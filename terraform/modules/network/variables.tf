variable "name" {
  description = "Prefix of the names of everything that is made here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "name is 2 to 24 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "availability_zones" {
  description = "Zones that workers may run in, all of one region. More zones are more pools of spot machines; at most 16."
  type        = set(string)

  validation {
    condition     = length(var.availability_zones) > 0 && length(var.availability_zones) <= 16
    error_message = "availability_zones names 1 to 16 zones, such as [\"eu-west-1a\", \"eu-west-1b\"]."
  }

  validation {
    condition     = alltrue([for zone in var.availability_zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", zone))])
    error_message = "availability_zones holds names of zones, such as eu-west-1a (a region ends in a digit, a zone in a letter)."
  }
}

variable "cidr_block" {
  description = "Addresses of the network. Each zone gets a sixteenth of them."
  type        = string
  default     = "10.72.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr_block, 0)) && try(tonumber(split("/", var.cidr_block)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr_block)[1]), 32) <= 24
    error_message = "cidr_block is an IPv4 network of /16 to /24, such as 10.72.0.0/16."
  }
}

variable "api_port" {
  description = "Port of the gateway and the API on the control plane (TAMER_PORT)."
  type        = number
  default     = 8000

  validation {
    condition     = var.api_port > 0 && var.api_port < 65536
    error_message = "api_port is 1 to 65535."
  }
}

variable "redis_ports" {
  description = "Ports of the Redis servers that workers use (TAMER_AGENT_JOBS_URL, TAMER_AGENT_TOKENS_URL). The broker of Celery is not among them: workers must not reach it."
  type        = set(number)
  default     = [6379]

  validation {
    condition     = alltrue([for port in var.redis_ports : port > 0 && port < 65536])
    error_message = "redis_ports are 1 to 65535."
  }
}

variable "peer_port" {
  description = "Port on which workers give weights to each other (TAMER_PEER_PORT). The same as that of gpu_workers."
  type        = number
  default     = 7443

  validation {
    condition     = var.peer_port > 1023 && var.peer_port < 65536
    error_message = "peer_port is 1024 to 65535."
  }
}

variable "client_cidr_blocks" {
  description = "Networks that may reach the API of a control plane in this network. Empty: none but the workers."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for block in var.client_cidr_blocks : can(cidrhost(block, 0))])
    error_message = "client_cidr_blocks are IPv4 networks, such as 203.0.113.0/24."
  }
}

variable "outside_control_plane_cidr_blocks" {
  description = "Networks of a control plane that is outside this network: workers may then reach its API and its Redis there. Empty: it is inside, and wears control_plane_security_group_id."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for block in var.outside_control_plane_cidr_blocks : can(cidrhost(block, 0))])
    error_message = "outside_control_plane_cidr_blocks are IPv4 networks, such as 203.0.113.7/32."
  }
}

variable "tags" {
  description = "Further tags of everything that is made here."
  type        = map(string)
  default     = {}
}
