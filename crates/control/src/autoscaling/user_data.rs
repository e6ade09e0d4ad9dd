//! The one setting that is read from user data: the ECS cluster to join. `cfn-init` in it takes the setting from the
//! metadata of a stack's resource.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

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

/// The stack and the resource whose metadata a script's last `cfn-init` carries out.
pub fn cfn_init(text: &str) -> Option<(String, String)> {
    let whole = text.replace("\\\n", " ");
    let call = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| !word.ends_with("cfn-init")).collect();
        let after = |names: [&str; 2]| {
            let of = |(at, word): (usize, &&str)| match word.split_once('=') {
                Some((name, value)) if names.contains(&name) => Some(value.to_owned()),
                _ if names.contains(word) => words.get(at + 1).map(|value| (*value).to_owned()),
                _ => None,
            };
            words.iter().enumerate().find_map(of)
        };
        Some((after(["--stack", "-s"])?, after(["--resource", "-r"])?))
    };
    whole.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(call).next_back()
}

/// The cluster that metadata of a resource (JSON) tells instances to join: in a command or a file of
/// `AWS::CloudFormation::Init`.
pub fn cluster_of_metadata(metadata: &str) -> Option<String> {
    fn texts(value: &Value, all: &mut Vec<String>) {
        match value {
            Value::String(text) => all.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
            Value::Object(members) => members.values().for_each(|member| texts(member, all)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let metadata: Value = serde_json::from_str(metadata).ok()?;
    let mut all = Vec::new();
    texts(&metadata["AWS::CloudFormation::Init"], &mut all);
    cluster(&all.join("\n"))
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
    fn cfn_init_leads_to_metadata() {
        let script =
            "yum install -y aws-cfn-bootstrap\n/opt/aws/bin/cfn-init -v --region r \\\n  --stack one --resource Two\n";
        assert_eq!(cfn_init(script), Some(("one".into(), "Two".into())));
        assert_eq!(cfn_init("cfn-init -r R -s=S || true"), Some(("S".into(), "R".into())));
        assert_eq!(cfn_init("# cfn-init -r R -s S\ncfn-signal --stack a --resource b"), None);
        let join = serde_json::json!({"command": "#!/bin/bash\necho ECS_CLUSTER=demo >> /etc/ecs/ecs.config\n"});
        let init = serde_json::json!({"AWS::CloudFormation::Init": {"config": {"commands": {"01_join": join}}}});
        assert_eq!(cluster_of_metadata(&init.to_string()).as_deref(), Some("demo"));
        assert_eq!(cluster_of_metadata(r#"{"Other": "ECS_CLUSTER=demo"}"#), None);
    }

    #[test]
    fn user_data_is_base64() {
        assert_eq!(decode("ZWNo\nbw==").as_deref(), Some("echo"));
        assert_eq!(decode("#!/bin/sh"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(?s).{0,200}") {
            let _ = (decode(&text), cluster(&text), cfn_init(&text), cluster_of_metadata(&text));
        }
    }
}
