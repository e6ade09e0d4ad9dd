//! Which images a repository's lifecycle policy expires: ECR's lifecycle policy language (AWS's
//! "Lifecycle policy parameters" and "How lifecycle policies work").
//!
//! Rules act in the order of their priority. An image is expired by one rule at most, and one that a
//! rule selects by its tags is safe from the rules after it, which still count it.

use crate::door::UnixMillis;
use crate::image::ImageRecord;
use crate::rule::Pattern;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A policy that was checked. Its rules are in the order of their priority.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// An image that expires, and the priority of the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub digest: String,
    pub rule: i32,
}

/// What is wrong with a policy's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPolicy(pub String);

#[derive(Debug)]
struct Rule {
    priority: i32,
    selection: Selection,
    count: Count,
}

#[derive(Debug)]
enum Selection {
    Untagged,
    Any,
    /// Every one of the patterns must match one of the image's tags.
    Tagged(Vec<Pattern>),
}

#[derive(Clone, Copy, Debug)]
enum Count {
    /// `imageCountMoreThan`: the youngest of this many stay.
    MoreThan(usize),
    /// `sinceImagePushed`, in days.
    DaysSincePushed(i64),
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Wildcards of one pattern.
const WILDCARDS: usize = 4;

impl Policy {
    /// Reads and checks the JSON of a policy.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let json: Value = serde_json::from_str(text).map_err(|_| bad("it is not valid JSON"))?;
        let root = object(&json, &["rules"], "the policy")?;
        let rules = root.get("rules").and_then(Value::as_array).filter(|rules| !rules.is_empty());
        let rules = rules.ok_or_else(|| bad("'rules' must be a list of at least one rule"))?;
        let mut rules: Vec<Rule> = rules.iter().map(rule).collect::<Result<_, _>>()?;
        rules.sort_by_key(|rule| rule.priority);
        if rules.windows(2).any(|pair| pair[0].priority == pair[1].priority) {
            return Err(bad("each rule must have a 'rulePriority' of its own"));
        }
        let of = |wanted: fn(&Selection) -> bool| rules.iter().filter(|rule| wanted(&rule.selection)).count();
        if of(|selection| matches!(selection, Selection::Untagged)) > 1 {
            return Err(bad("only one rule may select untagged images"));
        }
        let last_is_any = rules.last().is_some_and(|rule| matches!(rule.selection, Selection::Any));
        let any = of(|selection| matches!(selection, Selection::Any));
        if any > 1 || (any == 1 && !last_is_any) {
            return Err(bad("the one rule that selects any image must have the highest 'rulePriority'"));
        }
        Ok(Self { rules })
    }

    /// The images that expire now, in the order of the rules, the youngest first.
    pub fn expired(&self, images: &[ImageRecord], now: UnixMillis) -> Vec<Expired> {
        let mut youngest: Vec<&ImageRecord> = images.iter().collect();
        youngest.sort_by(|a, b| b.pushed_at_ms.cmp(&a.pushed_at_ms).then_with(|| a.digest.cmp(&b.digest)));
        let mut out = Vec::new();
        // Selected by a rule before: safe from those after.
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for rule in &self.rules {
            let selected: Vec<&ImageRecord> =
                youngest.iter().copied().filter(|image| rule.selection.takes(image)).collect();
            let old = |(at, image): (usize, &ImageRecord)| match rule.count {
                Count::MoreThan(count) => at >= count,
                Count::DaysSincePushed(days) => now - image.pushed_at_ms >= days * DAY_MS,
            };
            for (at, image) in selected.iter().copied().enumerate() {
                if old((at, image)) && !taken.contains(image.digest.as_str()) {
                    out.push(Expired { digest: image.digest.clone(), rule: rule.priority });
                }
            }
            taken.extend(selected.iter().map(|image| image.digest.as_str()));
        }
        out
    }
}

impl Selection {
    fn takes(&self, image: &ImageRecord) -> bool {
        match self {
            Self::Untagged => image.tags.is_empty(),
            Self::Any => true,
            Self::Tagged(patterns) => {
                !image.tags.is_empty()
                    && patterns.iter().all(|pattern| image.tags.iter().any(|tag| pattern.matches(tag.as_bytes())))
            }
        }
    }
}

fn rule(json: &Value) -> Result<Rule, BadPolicy> {
    let rule = object(json, &["rulePriority", "description", "selection", "action"], "a rule")?;
    let priority = rule.get("rulePriority").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let priority = priority.filter(|n| *n >= 1).ok_or_else(|| bad("'rulePriority' must be a number of at least 1"))?;
    if rule.get("description").is_some_and(|text| !text.is_string()) {
        return Err(bad("'description' must be text"));
    }
    let action = object(rule.get("action").unwrap_or(&Value::Null), &["type"], "'action'")?;
    if action.get("type").and_then(Value::as_str) != Some("expire") {
        return Err(bad("the 'type' of an action must be 'expire'"));
    }
    const SELECTION: &[&str] =
        &["tagStatus", "tagPrefixList", "tagPatternList", "countType", "countUnit", "countNumber"];
    let selection = object(rule.get("selection").unwrap_or(&Value::Null), SELECTION, "'selection'")?;
    let prefixes = texts(selection, "tagPrefixList")?;
    let patterns = texts(selection, "tagPatternList")?;
    let tagged = match selection.get("tagStatus").and_then(Value::as_str) {
        Some("tagged") => true,
        Some("untagged" | "any") => false,
        _ => return Err(bad("'tagStatus' must be 'tagged', 'untagged' or 'any'")),
    };
    let lists = usize::from(!prefixes.is_empty()) + usize::from(!patterns.is_empty());
    if lists != usize::from(tagged) {
        return Err(bad(
            "a 'selection' of tagged images must have either a 'tagPatternList' or a 'tagPrefixList', any other none",
        ));
    }
    if patterns.iter().any(|pattern| pattern.matches('*').count() > WILDCARDS) {
        return Err(bad("a pattern of 'tagPatternList' can have at most four wildcards"));
    }
    // What is no star stands for itself, also a question mark.
    let literal = |text: &str| text.replace('\\', "\\\\").replace('?', "\\?");
    let selection_of = match selection.get("tagStatus").and_then(Value::as_str) {
        Some("untagged") => Selection::Untagged,
        Some("any") => Selection::Any,
        _ => {
            let of_prefix = |text: &&str| Pattern::escaped(&format!("{}*", literal(text).replace('*', "\\*")));
            let of_pattern = |text: &&str| Pattern::escaped(&literal(text));
            Selection::Tagged(prefixes.iter().map(of_prefix).chain(patterns.iter().map(of_pattern)).collect())
        }
    };
    let number = selection.get("countNumber").and_then(Value::as_i64).filter(|n| (1..=1_000_000).contains(n));
    let number = number.ok_or_else(|| bad("'countNumber' must be a number of at least 1"))?;
    let unit = selection.get("countUnit").map(|unit| unit.as_str().unwrap_or_default());
    let count = match (selection.get("countType").and_then(Value::as_str), unit) {
        (Some("imageCountMoreThan"), None) => Count::MoreThan(number as usize),
        (Some("imageCountMoreThan"), Some(_)) => return Err(bad("'imageCountMoreThan' has no 'countUnit'")),
        (Some("sinceImagePushed"), Some("days")) => Count::DaysSincePushed(number),
        (Some("sinceImagePushed"), _) => return Err(bad("'sinceImagePushed' needs the 'countUnit' 'days'")),
        _ => return Err(bad("'countType' must be 'imageCountMoreThan' or 'sinceImagePushed'")),
    };
    Ok(Rule { priority, selection: selection_of, count })
}

fn object<'a>(json: &'a Value, known: &[&str], what: &str) -> Result<&'a Map<String, Value>, BadPolicy> {
    let object = json.as_object().ok_or_else(|| bad(format!("{what} must be an object")))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(object),
        Some(key) => Err(bad(format!("{what} has no member '{key}'"))),
    }
}

fn texts<'a>(selection: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, BadPolicy> {
    let Some(list) = selection.get(name) else { return Ok(Vec::new()) };
    let texts: Option<Vec<&str>> = list.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let valid = |texts: &Vec<&str>| texts.iter().all(|text| !text.is_empty());
    texts.filter(valid).ok_or_else(|| bad(format!("'{name}' must be a list of texts")))
}

fn bad(message: impl Into<String>) -> BadPolicy {
    BadPolicy(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn image(name: &str, tags: &[&str], age_days: i64) -> ImageRecord {
        ImageRecord {
            digest: name.into(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            media_type: String::new(),
            size: 1,
            pushed_at_ms: -age_days * DAY_MS,
        }
    }

    fn rule(priority: i32, selection: Value) -> Value {
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn expired(rules: Vec<Value>, images: &[ImageRecord]) -> Vec<(String, i32)> {
        let policy = Policy::parse(&json!({ "rules": rules }).to_string()).unwrap();
        policy.expired(images, 0).into_iter().map(|one| (one.digest, one.rule)).collect()
    }

    #[test]
    fn by_number_by_age_and_by_tags() {
        let images = [
            image("a", &["prod-1"], 1),
            image("b", &["prod-2"], 2),
            image("c", &["prod-3", "beta-3"], 3),
            image("d", &[], 10),
            image("e", &["dev"], 20),
        ];
        let of = |name: &str, rule: i32| (name.to_owned(), rule);
        let prod = json!({"tagStatus": "tagged", "tagPrefixList": ["prod"], "countType": "imageCountMoreThan", "countNumber": 2});
        assert_eq!(expired(vec![rule(1, prod.clone())], &images), [of("c", 1)]);
        let both = json!({"tagStatus": "tagged", "tagPatternList": ["prod*", "*ta-3"], "countType": "sinceImagePushed",
            "countUnit": "days", "countNumber": 3});
        assert_eq!(expired(vec![rule(1, both)], &images), [of("c", 1)], "all of the list must match");
        let untagged =
            json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 10});
        let any = json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1});
        let all = vec![rule(9, any), rule(1, prod), rule(5, untagged)];
        assert_eq!(
            expired(all, &images),
            [of("c", 1), of("d", 5), of("e", 9)],
            "what a rule selected is safe from those after it"
        );
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let count = json!({"countType": "imageCountMoreThan", "countNumber": 1});
        let selection = |more: Value| {
            let mut whole = count.clone();
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            whole
        };
        let any = rule(1, selection(json!({"tagStatus": "any"})));
        let untagged = |priority| rule(priority, selection(json!({"tagStatus": "untagged"})));
        let cases = [
            (json!({}), "'rules'"),
            (json!({"rules": []}), "at least one"),
            (json!({"rules": [rule(0, json!({}))]}), "rulePriority"),
            (json!({"rules": [untagged(1), untagged(1)]}), "of its own"),
            (json!({"rules": [untagged(1), untagged(2)]}), "untagged"),
            (json!({"rules": [any, untagged(2)]}), "highest"),
            (json!({"rules": [rule(1, selection(json!({"tagStatus": "tagged"})))]}), "tagPatternList"),
            (json!({"rules": [rule(1, selection(json!({"tagStatus": "any", "countUnit": "days"})))]}), "countUnit"),
            (json!({"rules": [rule(1, selection(json!({"tagStatus": "any", "countNumber": 0})))]}), "countNumber"),
            (
                json!({"rules": [rule(1, selection(json!({"tagStatus": "any", "countType": "sinceImagePulled"})))]}),
                "countType",
            ),
            (
                json!({"rules": [rule(1, selection(json!({"tagStatus": "tagged", "tagPatternList": ["*a*b*c*d*"]})))]}),
                "four wildcards",
            ),
            (json!({"rules": [{"rulePriority": 1, "selection": {}, "action": {"type": "transition"}}]}), "expire"),
            (json!({"rules": [untagged(1)], "more": 1}), "no member 'more'"),
        ];
        for (policy, words) in cases {
            let error = Policy::parse(&policy.to_string()).unwrap_err();
            assert!(error.0.contains(words), "{policy}: {error}");
        }
        assert!(Policy::parse("{").is_err());
    }

    proptest! {
        #[test]
        fn no_image_expires_twice_or_by_a_rule_that_is_not_its_own(ages in proptest::collection::vec(0i64..50, 0..30), keep in 1usize..10) {
            let images: Vec<_> = ages.iter().enumerate().map(|(n, age)| image(&n.to_string(), if n % 3 == 0 { &["a"] } else { &[] }, *age)).collect();
            let rules = vec![
                rule(1, json!({"tagStatus": "tagged", "tagPrefixList": ["a"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30})),
                rule(2, json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep})),
            ];
            let gone = expired(rules, &images);
            let unique: BTreeSet<_> = gone.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(unique.len(), gone.len());
            for (name, by) in &gone {
                let image = images.iter().find(|image| image.digest == *name).unwrap();
                prop_assert_eq!(*by == 1, !image.tags.is_empty(), "tagged images belong to the first rule");
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            let _ = Policy::parse(&text);
        }
    }
}
