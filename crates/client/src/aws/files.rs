//! The files `~/.aws/config` and `~/.aws/credentials` (AWS SDKs and Tools Reference Guide, "Shared config and
//! credentials files").

use std::collections::BTreeMap;

type Values = BTreeMap<String, String>;

/// What both files say, by profile.
#[derive(Debug, Default)]
pub struct Files {
    profiles: BTreeMap<String, Values>,
    /// Sections `services`: by name, then `<service>.endpoint_url`.
    services: BTreeMap<String, Values>,
}

impl Files {
    /// `config` and `credentials`: the texts of the files. Where both say something of a profile, `credentials` wins.
    pub fn parse(config: &str, credentials: &str) -> Self {
        let mut files = Self::default();
        for (section, values) in sections(config) {
            let words: Vec<&str> = section.split_whitespace().collect();
            match words[..] {
                ["default"] => files.profiles.entry("default".into()).or_default().extend(values),
                ["profile", name] => files.profiles.entry(unquoted(name)).or_default().extend(values),
                ["services", name] => files.services.entry(unquoted(name)).or_default().extend(values),
                // Sections of other tools, and those of single sign-on.
                _ => {}
            }
        }
        for (section, values) in sections(credentials) {
            files.profiles.entry(section.trim().to_owned()).or_default().extend(values);
        }
        files
    }

    pub fn profile(&self, name: &str) -> Option<&Values> {
        self.profiles.get(name)
    }

    /// All profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.profiles.iter().map(|(name, values)| (name.as_str(), values))
    }

    /// Endpoints that a profile names by a section `services`: by service.
    pub fn endpoints(&self, profile: &Values) -> Values {
        let section = profile.get("services").and_then(|name| self.services.get(name));
        let of = |(key, url): (&String, &String)| Some((key.strip_suffix(".endpoint_url")?.to_owned(), url.clone()));
        section.into_iter().flatten().filter_map(of).collect()
    }
}

fn unquoted(name: &str) -> String {
    name.trim_matches(['"', '\'']).to_owned()
}

/// Sections with their settings; one that stands below another, further in, is `outer.inner`.
fn sections(text: &str) -> Vec<(String, Values)> {
    let mut all: Vec<(String, Values)> = Vec::new();
    let mut outer = None;
    for line in text.lines() {
        let (bare, inside) = (line.trim(), line.starts_with([' ', '\t']));
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            all.push((name.trim().to_owned(), Values::new()));
            outer = None;
            continue;
        }
        let (Some((key, value)), Some((_, values))) = (bare.split_once('='), all.last_mut()) else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), without_comment(value));
        match &outer {
            Some(outer) if inside => values.insert(format!("{outer}.{key}"), value),
            _ => {
                outer = value.is_empty().then(|| key.clone());
                values.insert(key, value)
            }
        };
    }
    all
}

/// A value ends before a `#` or `;` that follows a space.
fn without_comment(value: &str) -> String {
    let value = value.trim();
    let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min().unwrap_or(value.len());
    value[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_in_aws_form() {
        let config = "# mine\n[default]\nregion=us-east-1\naws_access_key_id = old\n\n[profile prod]\nregion = eu-west-1 ; Dublin\n\
                      services = local\ns3 =\n  addressing_style = path\nrole_arn = arn:aws:iam::1:role/x\n\
                      [sso-session corp]\nsso_region = us-east-1\n[services local]\necs =\n  endpoint_url = http://127.0.0.1:1\n\
                      cloudwatch_logs =\n  endpoint_url = http://127.0.0.1:2\nbroken line\n";
        let files =
            Files::parse(config, "[default]\nAWS_ACCESS_KEY_ID = new\naws_secret_access_key = a#b\n[other]\nx = y\n");
        let of = |profile: &str, key: &str| files.profile(profile).and_then(|p| p.get(key)).map(String::as_str);
        assert_eq!(of("default", "aws_access_key_id"), Some("new"));
        assert_eq!(of("default", "aws_secret_access_key"), Some("a#b"));
        assert_eq!(of("default", "region"), Some("us-east-1"));
        assert_eq!((of("prod", "region"), of("prod", "s3.addressing_style")), (Some("eu-west-1"), Some("path")));
        assert_eq!(of("prod", "role_arn"), Some("arn:aws:iam::1:role/x"));
        assert_eq!(of("other", "x"), Some("y"));
        assert!(files.profile("corp").is_none());
        let endpoints = files.endpoints(files.profile("prod").unwrap());
        assert_eq!(endpoints.get("cloudwatch_logs").map(String::as_str), Some("http://127.0.0.1:2"));
        assert_eq!(endpoints.len(), 2);
    }
}
