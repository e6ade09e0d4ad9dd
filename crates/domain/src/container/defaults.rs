//! What ECS fills in when a task definition is registered, as DescribeTaskDefinition shows it.

use super::resources::network_mode;
use quarry_aws::ecs::TaskDefinition;

/// Completes a valid task definition with ECS's defaults.
pub fn complete(definition: &mut TaskDefinition) {
    let bridge = network_mode(definition) == "bridge";
    definition.volumes.get_or_insert_default();
    definition.placement_constraints.get_or_insert_default();
    for volume in definition.volumes.iter_mut().flatten() {
        if let Some(docker) = &mut volume.docker_volume_configuration {
            docker.scope.get_or_insert_with(|| "task".into());
        }
    }
    for container in definition.container_definitions.iter_mut().flatten() {
        container.cpu.get_or_insert(0);
        container.essential.get_or_insert(true);
        container.environment.get_or_insert_default();
        container.mount_points.get_or_insert_default();
        container.volumes_from.get_or_insert_default();
        container.system_controls.get_or_insert_default();
        for mapping in container.port_mappings.get_or_insert_default() {
            mapping.protocol.get_or_insert_with(|| "tcp".into());
            let port = if bridge { 0 } else { mapping.container_port.unwrap_or(0) };
            // With an address of its own, a task has the same port inside and outside.
            match mapping.host_port {
                Some(given) if bridge || given != 0 => {}
                _ => mapping.host_port = Some(port),
            }
        }
    }
}
