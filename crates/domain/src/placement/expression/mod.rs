//! The cluster query language of `memberOf` constraints and of the `filter` of
//! ListContainerInstances: comparisons of what is known of an instance, joined by `and`, `or`, `not` and
//! parentheses. Subjects and operators follow the ECS developer guide's chapter on it.

mod parse;

use crate::door::UnixMillis;
use regex::Regex;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    /// One of the subject's values is one of these.
    In(Subject, Vec<String>),
    /// One of the subject's values matches as a whole.
    Matches(Subject, Pattern),
    Exists(Subject),
    /// The subject compares so with the value.
    Is(Ordered, Vec<Ordering>, Value),
}

/// What has values that are texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Attribute(String),
    AgentConnected,
    Ec2InstanceId,
    /// The groups of the tasks that are on the instance.
    TaskGroup,
}

/// What is more or less than something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    Attribute(String),
    AgentVersion,
    RegisteredAt,
    RunningTasksCount,
}

/// What is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Version(Vec<u64>),
    Time(UnixMillis),
    Count(u64),
}

/// A regular expression; equal where their texts are.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// What the language asks about an instance besides its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub ec2_instance_id: String,
    pub agent_connected: bool,
    /// Numbers with dots between them.
    pub agent_version: String,
    pub registered_ms: UnixMillis,
    pub running_tasks: u32,
    /// Groups of the tasks that are on it.
    pub groups: Arc<BTreeSet<String>>,
}

/// The text is no expression of the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid expression '{expression}': {reason}")]
pub struct ExpressionError {
    pub expression: String,
    pub reason: String,
}

impl Expression {
    /// Whether it holds for an instance. A missing attribute equals nothing.
    pub fn holds(&self, attributes: &BTreeMap<String, String>, about: &About) -> bool {
        match self {
            Self::And(a, b) => a.holds(attributes, about) && b.holds(attributes, about),
            Self::Or(a, b) => a.holds(attributes, about) || b.holds(attributes, about),
            Self::Not(a) => !a.holds(attributes, about),
            Self::In(subject, values) => subject.any(attributes, about, |value| values.iter().any(|v| v == value)),
            Self::Matches(subject, pattern) => subject.any(attributes, about, |value| pattern.0.is_match(value)),
            Self::Exists(subject) => subject.any(attributes, about, |_| true),
            Self::Is(subject, wanted, value) => {
                subject.compare(value, attributes, about).is_some_and(|found| wanted.contains(&found))
            }
        }
    }
}

impl Subject {
    fn any(&self, attributes: &BTreeMap<String, String>, about: &About, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Attribute(name) => attributes.get(name).is_some_and(|value| test(value)),
            Self::AgentConnected => test(if about.agent_connected { "true" } else { "false" }),
            Self::Ec2InstanceId => test(&about.ec2_instance_id),
            Self::TaskGroup => about.groups.iter().any(|group| test(group)),
        }
    }
}

impl Ordered {
    fn compare(&self, with: &Value, attributes: &BTreeMap<String, String>, about: &About) -> Option<Ordering> {
        match (self, with) {
            (Self::Attribute(name), Value::Text(text)) => {
                let own = attributes.get(name)?;
                // Numbers by what they say.
                match (own.parse::<f64>(), text.parse::<f64>()) {
                    (Ok(own), Ok(other)) => own.partial_cmp(&other),
                    _ => Some(own.cmp(text)),
                }
            }
            (Self::AgentVersion, Value::Version(version)) => Some(version_of(&about.agent_version)?.cmp(version)),
            (Self::RegisteredAt, Value::Time(time)) => Some(about.registered_ms.cmp(time)),
            (Self::RunningTasksCount, Value::Count(count)) => Some(u64::from(about.running_tasks).cmp(count)),
            (Self::Attribute(_) | Self::AgentVersion | Self::RegisteredAt | Self::RunningTasksCount, _) => None,
        }
    }
}

/// Without the zeros at its end, so that 1.2 is 1.2.0.
fn version_of(text: &str) -> Option<Vec<u64>> {
    let parts: Result<Vec<u64>, _> = text.trim_start_matches('v').split('.').map(str::parse).collect();
    let mut parts = parts.ok()?;
    while parts.last() == Some(&0) {
        parts.pop();
    }
    Some(parts)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn parsed(text: &str) -> Expression {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn holds(text: &str) -> bool {
        let attributes = BTreeMap::from([
            ("ecs.instance-type".to_owned(), "t2.micro".to_owned()),
            ("ecs.availability-zone".to_owned(), "us-east-1a".to_owned()),
            ("rack".to_owned(), "12".to_owned()),
        ]);
        let about = About {
            ec2_instance_id: "i-0abc".into(),
            agent_connected: true,
            agent_version: "1.14.5".into(),
            registered_ms: 1_529_360_908_000, // 2018-06-18T22:28:28Z
            running_tasks: 2,
            groups: Arc::new(["service:production".to_owned(), "database".to_owned()].into()),
        };
        parsed(text).holds(&attributes, &about)
    }

    #[test]
    fn the_guides_examples() {
        assert!(holds("attribute:ecs.instance-type == t2.micro"));
        assert!(holds("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]"));
        assert!(!holds("attribute:ecs.availability-zone not_in [us-east-1a, us-east-1b]"));
        assert!(holds("attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d"));
        assert!(!holds("attribute:stack exists"));
        assert!(holds(
            "not(attribute:stack exists) && (attribute:stack == x or attribute:ecs.instance-type =~ .*micro)"
        ));
        assert!(holds("task:group == service:production"));
        assert!(!holds("not(task:group == database)"));
        assert!(holds("runningTasksCount == 2") && !holds("runningTasksCount == 1"));
        assert!(!holds("agentVersion < 1.14.5") && holds("agentVersion <= 1.14.5") && holds("agentVersion > 1.9"));
        assert!(!holds("registeredAt < 2018-02-13") && holds("registeredAt < 2018-06-19"));
        assert!(holds("ec2InstanceId in ['i-0abc', 'i-wxyx7890']"));
    }

    #[test]
    fn every_subject_and_operator() {
        for text in [
            "agentConnected == true",
            "agentConnected != false",
            "agentVersion equals 1.14.5.0",
            "agentVersion not_equals 2",
            "registeredAt == 2018-06-18T22:28:28Z",
            "registeredAt equals 2018-06-18T22:28:28+00:00",
            "registeredAt >= 2018-06-18T22:28:28",
            "registeredAt greater_than 2018-06-18",
            "registeredAt less_than_equal 2019-01-01",
            "runningTasksCount > 1 and runningTasksCount less_than 3",
            "ec2InstanceId =~ i-.*",
            "ec2InstanceId !~ j-.*",
            "attribute:ecs.instance-type matches t[23].(micro|small)",
            "(attribute:ecs.instance-type =~ t2.(micro|small)) and attribute:rack exists",
            "attribute:ecs.instance-type=~t2.*&&attribute:rack==12",
            "attribute:rack > 9",
            "attribute:rack < 100",
            "attribute:ecs.instance-type not_matches micro",
            "attribute:x not_exists",
            "attribute:x !exists",
            "!attribute:x exists",
            "!(attribute:x exists)",
            "!task:group == nobody",
            "task:group !in [a, b]",
            "task:group exists",
            "task:group =~ service:.*",
            "attribute:ecs.availability-zone == 'us-east-1a'",
        ] {
            assert!(holds(text), "{text}");
            assert!(!holds(&format!("not({text})")), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "ecs.instance-type == x",
            "attribute:a ~ b",
            "attribute:a in [x",
            "attribute:a in []",
            "attribute:a == b c",
            "attribute:a =~ (x|y",
            "attribute:a =~ (?=x)y",
            "attribute:a ==",
            "attribute:a == 'b",
            "agentConnected > true",
            "agentVersion in [1.2]",
            "agentVersion == latest",
            "agentVersion exists",
            "registeredAt == yesterday",
            "registeredAt =~ 2018.*",
            "runningTasksCount == many",
            "runningTasksCount == -1",
            "ec2InstanceId exists",
            "task:group > a",
            "task:family == a",
            "and attribute:a exists",
            "attribute:a exists or",
        ] {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
        let deep = "(".repeat(5000);
        assert!(deep.parse::<Expression>().is_err());
        let long = format!("attribute:a == {}", "b".repeat(2000));
        assert!(long.parse::<Expression>().is_err());
    }

    proptest! {
        /// No text makes the parser panic, and what it accepts can be asked.
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ atbuegrdin:x1!=~<>()\\[\\],'&|.]{0,40}", other in any::<String>()) {
            for text in [text.as_str(), &format!("attribute:a {text}"), &other] {
                if let Ok(expression) = text.parse::<Expression>() {
                    let asked = expression.holds(&BTreeMap::new(), &About::default());
                    let denied = Expression::Not(Box::new(expression)).holds(&BTreeMap::new(), &About::default());
                    prop_assert_eq!(asked, !denied);
                }
            }
        }
    }
}
