//! A listener's attributes: all at AWS's defaults, as none makes the data plane do otherwise.

use quarry_aws::elbv2::ListenerAttribute;

/// Those of HTTP listeners with AWS's defaults, sorted by key.
pub const FIXED: &[(&str, &str)] = &[
    ("routing.http.response.access_control_allow_credentials.header_value", ""),
    ("routing.http.response.access_control_allow_headers.header_value", ""),
    ("routing.http.response.access_control_allow_methods.header_value", ""),
    ("routing.http.response.access_control_allow_origin.header_value", ""),
    ("routing.http.response.access_control_expose_headers.header_value", ""),
    ("routing.http.response.access_control_max_age.header_value", ""),
    ("routing.http.response.content_security_policy.header_value", ""),
    ("routing.http.response.server.enabled", "true"),
    ("routing.http.response.strict_transport_security.header_value", ""),
    ("routing.http.response.x_content_type_options.header_value", ""),
    ("routing.http.response.x_frame_options.header_value", ""),
];

pub fn show() -> Vec<ListenerAttribute> {
    FIXED
        .iter()
        .map(|(key, value)| ListenerAttribute { key: Some((*key).into()), value: Some((*value).into()) })
        .collect()
}
