//! Load balancers, listeners, target groups, targets.

use super::{Call, Plan, Planned};
use crate::form::{Form, encoded};
use quarry_aws::elbv2::op::{
    CreateListener, CreateTargetGroup, DeleteListener, DeleteLoadBalancer, DeleteTargetGroup, DeregisterTargets,
    ModifyLoadBalancerAttributes,
};
use serde_json::json;

pub fn create_listener(form: &Form) -> Planned {
    let port = form.number("port", "The port")?;
    let input = json!({
        "LoadBalancerArn": form.needed("arn", "The load balancer")?,
        "Protocol": "HTTP",
        "Port": port,
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": form.needed("group", "The target group")?}],
    });
    let then = format!("/load-balancers/{}", encoded(form.text("balancer")));
    let title = format!("Add the listener HTTP {port}");
    Ok(Plan::new(title, Call::of::<CreateListener>(input), "The listener is made.", then))
}

pub fn delete_listener(form: &Form) -> Planned {
    let call = Call::of::<DeleteListener>(json!({"ListenerArn": form.needed("listener", "The listener")?}));
    let then = format!("/load-balancers/{}", encoded(form.text("balancer")));
    let plan = Plan::new("Delete a listener", call, "The listener is deleted.", then);
    Ok(plan.warned("Its rules are deleted with it, and nothing answers on its port."))
}

pub fn delete_load_balancer(form: &Form) -> Planned {
    let name = form.needed("name", "The load balancer")?;
    let call = Call::of::<DeleteLoadBalancer>(json!({"LoadBalancerArn": form.needed("arn", "The load balancer")?}));
    let title = format!("Delete the load balancer {name}");
    let plan = Plan::new(title, call, format!("{name} is deleted."), "/load-balancers");
    Ok(plan.warned("Its listeners and rules are deleted with it."))
}

pub fn access_log(form: &Form) -> Planned {
    let on = form.text("enabled") == "true";
    let mut attributes = vec![json!({"Key": "access_logs.s3.enabled", "Value": on.to_string()})];
    if on {
        let bucket = form.needed("bucket", "The bucket")?;
        attributes.push(json!({"Key": "access_logs.s3.bucket", "Value": bucket}));
    }
    let input = json!({"LoadBalancerArn": form.needed("arn", "The load balancer")?, "Attributes": attributes});
    let then = format!("/load-balancers/{}/requests", encoded(form.text("balancer")));
    let word = if on { "on" } else { "off" };
    let call = Call::of::<ModifyLoadBalancerAttributes>(input);
    Ok(Plan::new(format!("Turn the access log {word}"), call, format!("The access log is {word}."), then))
}

pub fn create_target_group(form: &Form) -> Planned {
    let name = form.needed("name", "The name")?;
    let input = json!({
        "Name": name,
        "Protocol": "HTTP",
        "Port": form.number("port", "The port")?,
        "VpcId": form.needed("vpc", "The VPC")?,
        "TargetType": form.needed("target_type", "The type of targets")?,
        "HealthCheckPath": form.needed("path", "The health check's path")?,
        "HealthCheckIntervalSeconds": form.number("interval", "The interval")?,
        "HealthCheckTimeoutSeconds": form.number("timeout", "The timeout")?,
        "HealthyThresholdCount": form.number("healthy", "The number of good checks")?,
        "UnhealthyThresholdCount": form.number("unhealthy", "The number of failed checks")?,
    });
    let then = format!("/target-groups/{}", encoded(name));
    let title = format!("Create the target group {name}");
    let plan = Plan::new(title, Call::of::<CreateTargetGroup>(input), format!("{name} is made."), then);
    Ok(plan.back_to("/target-groups"))
}

pub fn delete_target_group(form: &Form) -> Planned {
    let name = form.needed("name", "The target group")?;
    let call = Call::of::<DeleteTargetGroup>(json!({"TargetGroupArn": form.needed("arn", "The target group")?}));
    let title = format!("Delete the target group {name}");
    let plan = Plan::new(title, call, format!("{name} is deleted."), "/target-groups");
    Ok(plan.warned("No rule may name it."))
}

pub fn deregister_target(form: &Form) -> Planned {
    let target = form.needed("target", "The target")?;
    let (id, port) = target.split_once(' ').ok_or("The target has no port.")?;
    let port: u16 = port.parse().map_err(|_| "The target has no port.")?;
    let group = form.needed("arn", "The target group")?;
    let input = json!({"TargetGroupArn": group, "Targets": [{"Id": id, "Port": port}]});
    let then = format!("/target-groups/{}", encoded(form.text("name")));
    let title = format!("Deregister {id}:{port}");
    Ok(Plan::new(title, Call::of::<DeregisterTargets>(input), "The target is being drained.", then))
}
