//! In what two answers differ: status, the header fields that matter, and the body, by structure where it is JSON.

use super::answered::Answered;
use serde_json::Value;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `status`, `header <name>`, `body`, or a JSON pointer with `*` for each index.
    pub place: String,
    /// In words, with both values.
    pub text: String,
    /// A value differs, not the structure around it: such a place may be noise for ever.
    pub is_value: bool,
}

/// What is not compared.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    headers: Vec<String>,
    pointers: Vec<Vec<String>>,
}

/// Through two JSON values at once.
struct Walk<'a> {
    path: Vec<String>,
    /// The path as [`Difference::place`].
    place: String,
    ignore: &'a Ignore,
    found: &'a mut Vec<Difference>,
}

/// Header fields that change what a client does with an answer. Lengths, dates, names of servers and tags of
/// versions may differ between two applications that are both right.
const FIELDS: [&str; 11] = [
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "link",
    "location",
    "vary",
    "www-authenticate",
];
/// Differences told of one pair of answers.
const MAX: usize = 100;
/// Characters of a value in words.
const VALUE: usize = 80;

impl Ignore {
    /// JSON pointers begin with a slash; the rest are names of header fields.
    pub fn compile(rules: &[String]) -> Self {
        let mut ignore = Self::default();
        for rule in rules {
            match rule.strip_prefix('/') {
                Some(pointer) => ignore.pointers.push(pointer.split('/').map(str::to_owned).collect()),
                None => ignore.headers.push(rule.to_ascii_lowercase()),
            }
        }
        ignore
    }

    /// The place or what it lies in is not compared.
    fn has(&self, path: &[String]) -> bool {
        self.pointers
            .iter()
            .any(|rule| rule.len() <= path.len() && rule.iter().zip(path).all(|(rule, key)| rule == "*" || rule == key))
    }
}

/// In what `b` differs from `a`, the weightiest first.
pub fn differences(a: &Answered, b: &Answered, ignore: &Ignore) -> Vec<Difference> {
    let mut found = Vec::new();
    if a.status != b.status {
        let text = format!("status {} and {}", a.status, b.status);
        found.push(Difference { place: "status".into(), text, is_value: false });
    }
    for name in FIELDS.into_iter().filter(|name| !ignore.headers.iter().any(|own| own == name)) {
        let (one, other) = (a.values(name).join(", "), b.values(name).join(", "));
        if one != other {
            let text = format!("header {name}: {} and {}", short(&one), short(&other));
            found.push(Difference { place: format!("header {name}"), text, is_value: true });
        }
    }
    if a.body != b.body {
        match (json(&a.body), json(&b.body)) {
            (Some(one), Some(other)) => {
                Walk { path: Vec::new(), place: String::new(), ignore, found: &mut found }.values(&one, &other);
            }
            _ => {
                let text = format!("the bodies, of {} and {} bytes", a.body.len(), b.body.len());
                found.push(Difference { place: "body".into(), text, is_value: false });
            }
        }
    }
    found
}

fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

impl Walk<'_> {
    fn values(&mut self, a: &Value, b: &Value) {
        if a == b || self.found.len() >= MAX || self.ignore.has(&self.path) {
            return;
        }
        match (a, b) {
            (Value::Object(one), Value::Object(other)) => {
                for (key, value) in one {
                    self.inside(key.clone(), key, |walk| walk.either(Some(value), other.get(key)));
                }
                for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                    self.inside(key.clone(), key, |walk| walk.either(None, Some(value)));
                }
            }
            (Value::Array(one), Value::Array(other)) => {
                if one.len() != other.len() {
                    self.tell(&format!("{} and {} elements", one.len(), other.len()), false);
                }
                for (n, (one, other)) in one.iter().zip(other).enumerate() {
                    self.inside(n.to_string(), "*", |walk| walk.values(one, other));
                }
            }
            _ => {
                let same_kind = std::mem::discriminant(a) == std::mem::discriminant(b);
                self.tell(&format!("{} and {}", short(&a.to_string()), short(&b.to_string())), same_kind);
            }
        }
    }

    fn either(&mut self, a: Option<&Value>, b: Option<&Value>) {
        match (a, b) {
            (Some(a), Some(b)) => self.values(a, b),
            _ if self.ignore.has(&self.path) || self.found.len() >= MAX => {}
            (Some(_), None) => self.tell("missing at the destination", false),
            (None, _) => self.tell("missing at the source", false),
        }
    }

    fn inside(&mut self, key: String, general: &str, look: impl FnOnce(&mut Self)) {
        let before = self.place.len();
        self.place.push('/');
        self.place.push_str(general);
        self.path.push(key);
        look(self);
        self.path.pop();
        self.place.truncate(before);
    }

    fn tell(&mut self, what: &str, is_value: bool) {
        let at: String = self.path.iter().map(|key| format!("/{key}")).collect();
        let (at, place) = if at.is_empty() { ("the whole", "/") } else { (&*at, &*self.place) };
        self.found.push(Difference { place: place.to_owned(), text: format!("{at}: {what}"), is_value });
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "nothing".into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, fields: &[(&str, &str)], body: &str) -> Answered {
        let fields = fields.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Answered { status, fields, body: body.into() }
    }

    fn texts(a: &Answered, b: &Answered, ignore: &[&str]) -> Vec<String> {
        let ignore = Ignore::compile(&ignore.iter().map(|r| r.to_string()).collect::<Vec<_>>());
        differences(a, b, &ignore).into_iter().map(|d| d.text).collect()
    }

    #[test]
    fn what_matters_is_told_and_the_rest_is_not() {
        let a = answered(200, &[("content-type", "application/json"), ("date", "1"), ("etag", "a")], "{}");
        let b = answered(404, &[("content-type", "text/html"), ("date", "2"), ("etag", "b")], "{ }");
        let header = "header content-type: application/json and text/html".to_owned();
        assert_eq!(texts(&a, &b, &[]), ["status 200 and 404".to_owned(), header]);
        assert_eq!(texts(&a, &b, &["Content-Type"]), ["status 200 and 404"]);
        assert_eq!(texts(&answered(200, &[], "a"), &answered(200, &[], "bc"), &[]), ["the bodies, of 1 and 2 bytes"]);
    }

    #[test]
    fn json_is_compared_by_structure() {
        let a = answered(200, &[], r#"{"posts":[{"id":1,"title":"x","views":3},{"id":2}],"at":1.5,"gone":null}"#);
        let b = answered(200, &[], r#"{"at":2.5, "posts":[{"title":"y","id":1,"views":9}],"new":[]}"#);
        let found = texts(&a, &b, &[]);
        let expected = [
            "/at: 1.5 and 2.5",
            "/gone: missing at the destination",
            "/posts: 2 and 1 elements",
            "/posts/0/title: \"x\" and \"y\"",
            "/posts/0/views: 3 and 9",
            "/new: missing at the source",
        ];
        assert_eq!(found, expected);
        assert_eq!(texts(&a, &b, &["/posts", "/at", "/gone", "/new"]), [""; 0]);
        assert_eq!(texts(&a, &b, &["/posts/*/views", "/posts/*/title", "/*"]), [""; 0]);
        let places: Vec<_> =
            differences(&a, &b, &Ignore::default()).into_iter().map(|d| (d.place, d.is_value)).collect();
        assert!(places.contains(&("/posts/*/title".into(), true)) && places.contains(&("/posts".into(), false)));
    }
}
