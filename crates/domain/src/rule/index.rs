//! Which rule of a listener takes a request, without asking each in turn.
//!
//! Most rules say how some text of the request begins or ends: a path `/users*`, a host `shop.example.com` or
//! `*.example.com`, a header or query value. Each such rule is filed under that text, found by binary search, and only
//! then asked; the rest are asked one after another. The answer is always that of asking all in order of priority.

use super::{Compiled, Conditions, Pattern, Request, pairs};
use crate::snapshot::Condition;
use std::collections::HashMap;

/// The conditions of a listener's rules, in order of priority.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    conditions: Vec<Conditions>,
    filed: Vec<File>,
    /// Rules that are filed nowhere.
    others: Vec<u32>,
}

/// Rules by one text of the request.
#[derive(Clone, Debug)]
struct File {
    field: Field,
    beginnings: Texts,
    ends: Texts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Field {
    Path,
    Host,
    /// By name.
    Header(String),
    /// By key.
    Query(String),
}

/// What a text must begin or end with for a rule to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    field: Field,
    end: bool,
    /// Of an end: backwards.
    text: Vec<u8>,
}

/// Texts in order, each with its rules and the longest other one that it begins with.
#[derive(Clone, Debug, Default)]
struct Texts(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    text: Vec<u8>,
    parent: Option<usize>,
    rules: Vec<u32>,
}

/// Rules by text, not yet in order.
type Found<'a> = HashMap<&'a [u8], Vec<u32>>;

/// Headers and query keys that are looked up for each request at most.
const MAX_FILES: usize = 16;

impl Rules {
    /// From the conditions of each rule, in order of priority.
    pub fn compile<'a>(rules: impl IntoIterator<Item = &'a [Condition]>) -> Self {
        let conditions: Vec<Conditions> = rules.into_iter().map(Conditions::compile).collect();
        let keys: Vec<Vec<Vec<Key>>> = conditions.iter().map(|c| c.0.iter().filter_map(keys).collect()).collect();
        let mut shared: HashMap<&Key, usize> = HashMap::new();
        keys.iter().flatten().flatten().for_each(|key| *shared.entry(key).or_default() += 1);
        let mut files: Vec<(Field, [Found<'_>; 2])> = Vec::new();
        let mut others = Vec::new();
        for (rule, choices) in (0u32..).zip(&keys) {
            // Under what the fewest others are filed under.
            let best = choices.iter().min_by_key(|keys| keys.iter().map(|key| shared[key]).sum::<usize>());
            let Some(best) = best else {
                others.push(rule);
                continue;
            };
            // All keys of a condition are of one field.
            let field = best.first().map(|key| &key.field);
            let at = match files.iter().position(|(f, _)| field.is_none_or(|field| f == field)) {
                Some(at) => at,
                None if files.len() < MAX_FILES => {
                    files.push((field.cloned().unwrap_or(Field::Path), Default::default()));
                    files.len() - 1
                }
                None => {
                    others.push(rule);
                    continue;
                }
            };
            for key in best {
                let rules = files[at].1[usize::from(key.end)].entry(&key.text).or_default();
                // Two values of a condition may begin alike.
                if rules.last() != Some(&rule) {
                    rules.push(rule);
                }
            }
        }
        let filed = files
            .into_iter()
            .map(|(field, [beginnings, ends])| File {
                field,
                beginnings: Texts::new(beginnings),
                ends: Texts::new(ends),
            })
            .collect();
        Self { conditions, filed, others }
    }

    /// The first rule whose conditions all hold, by its place in the order.
    pub fn first(&self, request: &Request<'_>) -> Option<usize> {
        let mut best = u32::MAX;
        let mut ask = |rules: &[u32]| {
            for rule in rules.iter().take_while(|rule| **rule < best) {
                if self.conditions[*rule as usize].match_request(request) {
                    best = *rule;
                    break;
                }
            }
        };
        for file in &self.filed {
            match &file.field {
                Field::Path => file.exact(request.path.as_bytes(), &mut ask),
                Field::Host => file.ignoring_case(request.host.as_bytes(), &mut ask),
                Field::Header(name) => {
                    request.headers.any(name, &mut |value| {
                        file.ignoring_case(value, &mut ask);
                        false
                    });
                }
                Field::Query(key) => {
                    for (_, value) in pairs(request.query).filter(|(k, _)| k.eq_ignore_ascii_case(key)) {
                        file.ignoring_case(value.as_bytes(), &mut ask);
                    }
                }
            }
        }
        ask(&self.others);
        (best != u32::MAX).then_some(best as usize)
    }
}

impl File {
    fn exact(&self, text: &[u8], ask: &mut impl FnMut(&[u32])) {
        self.beginnings.each_in(text.iter().copied(), ask);
        self.ends.each_in(text.iter().rev().copied(), ask);
    }

    fn ignoring_case(&self, text: &[u8], ask: &mut impl FnMut(&[u32])) {
        let lower = text.iter().map(u8::to_ascii_lowercase);
        self.beginnings.each_in(lower.clone(), ask);
        self.ends.each_in(lower.rev(), ask);
    }
}

impl Texts {
    fn new(rules: Found<'_>) -> Self {
        let mut sorted: Vec<_> = rules.into_iter().collect();
        sorted.sort_unstable();
        let mut entries: Vec<Entry> = Vec::with_capacity(sorted.len());
        for (text, rules) in sorted {
            let mut parent = entries.len().checked_sub(1);
            while let Some(at) = parent.filter(|at| !text.starts_with(&entries[*at].text)) {
                parent = entries[at].parent;
            }
            entries.push(Entry { text: text.to_vec(), parent, rules });
        }
        Self(entries)
    }

    /// The rules of every text that this one begins with: they are the last one in order that is not after it, and
    /// those that that one begins with.
    fn each_in(&self, text: impl Iterator<Item = u8> + Clone, ask: &mut impl FnMut(&[u32])) {
        let after = self.0.partition_point(|entry| entry.text.iter().copied().le(text.clone()));
        let mut next = after.checked_sub(1);
        while let Some(entry) = next.map(|at| &self.0[at]) {
            next = entry.parent;
            if entry.text.iter().copied().eq(text.clone().take(entry.text.len())) {
                ask(&entry.rules);
            }
        }
    }
}

/// The texts of which one must be there for the condition to hold; `None` where it says nothing of the kind.
fn keys(condition: &Compiled) -> Option<Vec<Key>> {
    let all = |field: Field, values: &[Pattern]| values.iter().map(|value| key(&field, value)).collect();
    match condition {
        Compiled::Path(values) => all(Field::Path, values),
        Compiled::Host(values) => all(Field::Host, values),
        Compiled::Header { name, values } => all(Field::Header(name.to_ascii_lowercase()), values),
        Compiled::Query(wanted) => {
            let name = |key: &Option<Pattern>| key.as_ref().and_then(Pattern::literal);
            let first = name(&wanted.first()?.0)?;
            let field = Field::Query(String::from_utf8(first.clone()).ok()?);
            let same = wanted.iter().all(|(key, _)| name(key).as_ref() == Some(&first));
            if same { wanted.iter().map(|(_, value)| key(&field, value)).collect() } else { None }
        }
        Compiled::Method(_) | Compiled::Source(_) => None,
    }
}

fn key(field: &Field, pattern: &Pattern) -> Option<Key> {
    let (beginning, mut end) = (pattern.beginning(), pattern.end());
    let text = if beginning.len() >= end.len() {
        Key { field: field.clone(), end: false, text: beginning }
    } else {
        end.reverse();
        Key { field: field.clone(), end: true, text: end }
    };
    (!text.text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::Headers;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Texts short and alike enough that conditions often hold and often share their beginnings.
    const PATTERN: &str = "(/?[abA]{0,3})([*?]?)([abA]{0,2})";
    const TEXT: &str = "/?[abA]{0,5}";

    fn condition() -> impl Strategy<Value = Condition> {
        let values = || vec(PATTERN, 0..3);
        prop_oneof![
            4 => values().prop_map(Condition::PathPattern),
            3 => values().prop_map(Condition::HostHeader),
            2 => ("[xX]-[ab]", values()).prop_map(|(name, values)| Condition::HttpHeader { name, values }),
            2 => vec((proptest::option::of("[kK*]{1,2}"), PATTERN), 0..3).prop_map(Condition::QueryString),
            1 => Just(Condition::HttpRequestMethod(vec!["GET".into()])),
            1 => Just(Condition::SourceIp(vec!["10.0.0.0/8".into()])),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_answer_is_that_of_asking_all_in_order(
            rules in vec(vec(condition(), 0..3), 0..30),
            requests in vec((TEXT, TEXT, vec(("x-[ab]", TEXT), 0..3), vec(("[kK]{1,2}", TEXT), 0..3), any::<bool>()), 8),
        ) {
            let index = Rules::compile(rules.iter().map(Vec::as_slice));
            for (path, host, headers, query, inside) in &requests {
                let headers: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
                struct Fields<'a>(Vec<(&'a str, &'a [u8])>);
                impl Headers for Fields<'_> {
                    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
                        self.0.as_slice().any(name, test)
                    }
                }
                let query: Vec<String> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let request = Request {
                    method: if *inside { "GET" } else { "PUT" },
                    host,
                    path,
                    query: &query.join("&"),
                    headers: &Fields(headers),
                    source: if *inside { "10.1.1.1" } else { "192.0.2.1" }.parse().unwrap(),
                };
                let asked = rules.iter().position(|rule| Conditions::compile(rule).match_request(&request));
                prop_assert_eq!(index.first(&request), asked);
            }
        }
    }

    #[test]
    fn a_thousand_rules_are_filed_under_what_tells_them_apart() {
        let rules: Vec<Vec<Condition>> = (0..1000)
            .map(|n| {
                vec![
                    Condition::PathPattern(vec!["/api/*".into()]),
                    Condition::HostHeader(vec![format!("*.tenant{n}.test"), format!("tenant{n}.test")]),
                ]
            })
            .collect();
        let index = Rules::compile(rules.iter().map(Vec::as_slice));
        assert!(index.others.is_empty());
        assert_eq!(index.filed.len(), 1);
        let most = |texts: &Texts| texts.0.iter().map(|entry| entry.rules.len()).max();
        assert_eq!((most(&index.filed[0].beginnings), most(&index.filed[0].ends)), (Some(1), Some(1)));
    }
}
