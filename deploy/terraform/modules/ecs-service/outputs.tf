output "service_name" {
  description = "Name of the ECS service."
  value       = aws_ecs_service.this.name
}

output "service_arn" {
  description = "ARN of the ECS service."
  value       = aws_ecs_service.this.id
}

output "discovery_service_arn" {
  description = "ARN of the Cloud Map service; null where the service is not discovered."
  value       = one(aws_service_discovery_service.this[*].arn)
}
