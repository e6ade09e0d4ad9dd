output "url" {
  description = "Where the gateway answers."
  value       = "http://${aws_lb.main.dns_name}"
}

output "cluster_arn" {
  value = aws_ecs_cluster.main.arn
}

output "namespace_id" {
  value = aws_service_discovery_private_dns_namespace.main.id
}
