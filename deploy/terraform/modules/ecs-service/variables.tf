variable "service_name" {
  description = "Name of the ECS service."
  type        = string
}

variable "cluster_arn" {
  description = "Cluster that the service runs on."
  type        = string
}

variable "task_definition_arn" {
  description = "Task definition, with its revision."
  type        = string
}

variable "desired_count" {
  description = "Number of tasks."
  type        = number
  default     = 1

  validation {
    condition     = var.desired_count >= 0 && floor(var.desired_count) == var.desired_count
    error_message = "The number of tasks is a whole number, 0 or more."
  }
}

variable "service_discovery" {
  description = "Cloud Map namespace, and the name in it under which other services find this one."
  type = object({
    namespace_id = string
    dns_name     = string
  })
  default = null
}

variable "load_balancer" {
  description = "Target group that gets the service's tasks, and the container and port in them that it reaches."
  type = object({
    target_group_arn = string
    container_name   = string
    container_port   = number
  })
  default = null
}
