//! Elastic Load Balancing's error codes, as functions from the text to the error.

use quarry_wire::ServiceError;

fn error(code: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(code, message, 400)
}

macro_rules! codes {
    ($($name:ident = $code:literal;)*) => {
        $(pub fn $name(message: impl Into<String>) -> ServiceError {
            error($code, message)
        })*
    };
}

codes! {
    validation = "ValidationError";
    invalid_configuration = "InvalidConfigurationRequest";
    load_balancer_not_found = "LoadBalancerNotFound";
    target_group_not_found = "TargetGroupNotFound";
    listener_not_found = "ListenerNotFound";
    rule_not_found = "RuleNotFound";
    duplicate_load_balancer_name = "DuplicateLoadBalancerName";
    duplicate_target_group_name = "DuplicateTargetGroupName";
    duplicate_listener = "DuplicateListener";
    duplicate_tag_keys = "DuplicateTagKeys";
    resource_in_use = "ResourceInUse";
    priority_in_use = "PriorityInUse";
    operation_not_permitted = "OperationNotPermitted";
    target_group_association_limit = "TargetGroupAssociationLimit";
    invalid_target = "InvalidTarget";
    invalid_load_balancer_action = "InvalidLoadBalancerAction";
    invalid_security_group = "InvalidSecurityGroup";
    subnet_not_found = "SubnetNotFound";
    certificate_not_found = "CertificateNotFound";
    ssl_policy_not_found = "SSLPolicyNotFound";
    too_many_certificates = "TooManyCertificates";
    too_many_load_balancers = "TooManyLoadBalancers";
    too_many_listeners = "TooManyListeners";
    too_many_rules = "TooManyRules";
    too_many_target_groups = "TooManyTargetGroups";
    too_many_targets = "TooManyTargets";
    too_many_actions = "TooManyActions";
    too_many_tags = "TooManyTags";
    too_many_unique_target_groups = "TooManyUniqueTargetGroupsPerLoadBalancer";
}

/// `1 validation error detected: …`, as AWS words a value outside its model's bounds.
pub fn constraint(value: impl std::fmt::Display, member: &str, rule: impl std::fmt::Display) -> ServiceError {
    validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {rule}"
    ))
}

/// A number within inclusive bounds, with the API's own error if it is not.
pub fn in_range(value: i32, member: &str, min: i32, max: i32) -> Result<u32, ServiceError> {
    if value < min {
        return Err(constraint(value, member, format_args!("have value greater than or equal to {min}")));
    }
    if value > max {
        return Err(constraint(value, member, format_args!("have value less than or equal to {max}")));
    }
    Ok(value.unsigned_abs())
}
