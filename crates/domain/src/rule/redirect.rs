//! The `Location` of a redirect action.

use crate::snapshot::Redirect;

/// What the placeholders stand for. `path` is without its first `/`, `query` without the `?`.
#[derive(Clone, Copy, Debug)]
pub struct RedirectFrom<'a> {
    /// `http` or `https`, as the client connected.
    pub protocol: &'a str,
    /// Without a port.
    pub host: &'a str,
    pub port: u16,
    pub path: &'a str,
    pub query: &'a str,
}

/// `protocol://host:port/path?query` with every placeholder filled in; the `?` is left out where
/// the query is empty.
pub fn location(redirect: &Redirect, from: &RedirectFrom<'_>) -> String {
    let mut out = String::with_capacity(64);
    fill(&mut out, &redirect.protocol, from);
    out = out.to_ascii_lowercase();
    out.push_str("://");
    fill(&mut out, &redirect.host, from);
    out.push(':');
    fill(&mut out, &redirect.port, from);
    let before_path = out.len();
    fill(&mut out, &redirect.path, from);
    if !out[before_path..].starts_with('/') {
        out.insert(before_path, '/');
    }
    let before_query = out.len();
    fill(&mut out, &redirect.query, from);
    if out.len() > before_query {
        out.insert(before_query, '?');
    }
    out
}

fn fill(out: &mut String, template: &str, from: &RedirectFrom<'_>) {
    let mut rest = template;
    while let Some(at) = rest.find("#{") {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let Some(end) = tail.find('}') else {
            rest = tail;
            break;
        };
        match &tail[..=end] {
            "#{protocol}" => out.push_str(from.protocol),
            "#{host}" => out.push_str(from.host),
            "#{port}" => out.push_str(&from.port.to_string()),
            "#{path}" => out.push_str(from.path),
            "#{query}" => out.push_str(from.query),
            other => out.push_str(other),
        }
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(protocol: &str, host: &str, port: &str, path: &str, query: &str) -> Redirect {
        let [protocol, host, port, path, query] = [protocol, host, port, path, query].map(str::to_owned);
        Redirect { protocol, host, port, path, query, status: 301 }
    }

    const FROM: RedirectFrom<'static> =
        RedirectFrom { protocol: "http", host: "a.test", port: 80, path: "x/y", query: "k=v" };

    #[test]
    fn placeholders_are_filled_in() {
        let all = redirect("#{protocol}", "#{host}", "#{port}", "/#{path}", "#{query}");
        assert_eq!(location(&all, &FROM), "http://a.test:80/x/y?k=v");
        let tls = redirect("HTTPS", "#{host}", "443", "/#{path}", "#{query}");
        assert_eq!(location(&tls, &RedirectFrom { query: "", ..FROM }), "https://a.test:443/x/y");
        let moved = redirect("#{protocol}", "new.#{host}", "#{port}", "/v2/#{path}/#{odd", "a=1&#{query}");
        assert_eq!(location(&moved, &FROM), "http://new.a.test:80/v2/x/y/#{odd?a=1&k=v");
    }

    #[test]
    fn what_a_client_sends_is_not_expanded_again() {
        let all = redirect("#{protocol}", "#{host}", "#{port}", "/#{path}", "#{query}");
        let from = RedirectFrom { path: "#{query}", ..FROM };
        assert_eq!(location(&all, &from), "http://a.test:80/#{query}?k=v");
    }
}
