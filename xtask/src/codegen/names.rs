//! Rust names for the models' names.

/// Rust's keywords that a member can be called by; the last four cannot be raw identifiers.
const KEYWORDS: &[&str] = &[
    "as", "async", "await", "box", "break", "const", "continue", "do", "dyn", "else", "enum", "extern", "false",
    "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override",
    "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized",
    "use", "virtual", "where", "while", "yield", "self", "super", "crate", "Self",
];
const NEVER_RAW: &[&str] = &["self", "super", "crate", "Self"];

/// `clusterArn` → `cluster_arn`, `LoadBalancerARNs` → `load_balancer_arns`, `EC2InstanceId` → `ec2_instance_id`.
pub fn snake(name: &str) -> String {
    let name = name.replace("IPv", "Ipv").replace("MiB", "Mib").replace("GiB", "Gib");
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            if !out.ends_with('_') && !out.is_empty() {
                out.push('_');
            }
            continue;
        }
        let previous = i.checked_sub(1).map(|p| chars[p]);
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            let next = chars.get(i + 1);
            // The "s" of a plural acronym belongs to it: ARNs, IDs.
            let plural = next == Some(&'s') && chars.get(i + 2).is_none_or(|n| n.is_ascii_uppercase());
            let starts_word = next.is_some_and(char::is_ascii_lowercase) && !plural;
            if previous.is_some_and(|p| !p.is_ascii_uppercase()) || starts_word {
                out.push('_');
            }
        }
        out.push(c.to_ascii_lowercase());
    }
    out.trim_end_matches('_').to_owned()
}

/// A member as a field: snake case, keywords escaped.
pub fn field(name: &str) -> String {
    let name = snake(name);
    match name.as_str() {
        n if NEVER_RAW.contains(&n) => format!("{n}_"),
        n if KEYWORDS.contains(&n) => format!("r#{n}"),
        _ => name,
    }
}

/// A shape as a type: its name with a capital first letter.
pub fn type_name(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// A constant: `CLUSTER_ARN`, with an underscore before a leading digit.
pub fn constant(name: &str) -> String {
    let name = snake(name).to_ascii_uppercase();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_words() {
        for (name, expected) in [
            ("clusterArn", "cluster_arn"),
            ("LoadBalancerARNs", "load_balancer_arns"),
            ("EC2InstanceId", "ec2_instance_id"),
            ("SSLPolicies", "ssl_policies"),
            ("Ipv6CidrBlock", "ipv6_cidr_block"),
            ("IPv6Addresses", "ipv6_addresses"),
            ("memoryMiB", "memory_mib"),
            ("type", "r#type"),
            ("self", "self_"),
            ("VPCZoneIdentifier", "vpc_zone_identifier"),
            ("DBName", "db_name"),
            ("routing.http2.enabled", "routing_http2_enabled"),
        ] {
            assert_eq!(field(name), expected, "{name}");
        }
        assert_eq!(constant("awsvpc"), "AWSVPC");
        assert_eq!(constant("2x"), "_2X");
        assert_eq!(type_name("filter"), "Filter");
    }
}
