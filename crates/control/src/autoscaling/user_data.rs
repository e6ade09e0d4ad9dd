//! The one setting that is read from user data: the ECS cluster to join.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text of base64 user data; white space in it does not count. `None` if it is not base64.
pub fn decode(encoded: &str) -> Option<String> {
    let packed: String = encoded.chars().filter(|c| !c.is_whitespace()).collect();
    Some(String::from_utf8_lossy(&STANDARD.decode(packed).ok()?).into_owned())
}

/// The value of the last `ECS_CLUSTER=…` outside comments, as the ECS agent would read it from
/// `/etc/ecs/ecs.config`.
pub fn cluster(text: &str) -> Option<String> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(setting).next_back()
}

fn setting(line: &str) -> Option<String> {
    let (before, after) = line.split_once("ECS_CLUSTER=")?;
    if before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let after = after.trim_start_matches(['"', '\'']);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let value: String = after.chars().take_while(|c| legal(*c)).collect();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cluster_is_read_from_the_usual_forms() {
        let script = "#!/bin/bash -xe\necho ECS_CLUSTER=demo-cluster >> /etc/ecs/ecs.config\nyum install -y x\n";
        assert_eq!(cluster(script).as_deref(), Some("demo-cluster"));
        for (text, expected) in [
            ("echo \"ECS_CLUSTER=a_b\" > /etc/ecs/ecs.config", Some("a_b")),
            ("cat <<'EOF' >> /etc/ecs/ecs.config\nECS_CLUSTER=here\nECS_LOGLEVEL=debug\nEOF", Some("here")),
            ("export ECS_CLUSTER='quoted'", Some("quoted")),
            ("ECS_CLUSTER=one\nECS_CLUSTER=two", Some("two")),
            ("# ECS_CLUSTER=commented", None),
            ("MY_ECS_CLUSTER=other", None),
            ("ECS_CLUSTER=", None),
            ("", None),
        ] {
            assert_eq!(cluster(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn user_data_is_base64() {
        assert_eq!(decode("ZWNo\nbw==").as_deref(), Some("echo"));
        assert_eq!(decode("#!/bin/sh"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(?s).{0,200}") {
            let _ = (decode(&text), cluster(&text));
        }
    }
}
