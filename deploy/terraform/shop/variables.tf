variable "name" {
  description = "Name of the cluster and of what belongs to it."
  type        = string
  default     = "shop"
}

variable "images" {
  description = "Images of the three services, as pushed to the registry."
  type = object({
    user    = string
    order   = string
    gateway = string
  })
}
