//! Who may speak to the console: pages of its own, and a person.

use http::{HeaderMap, Method, header};
use std::net::IpAddr;

/// Refuses what another site's page sent, and names that were made to lead here. A link from elsewhere may only lead
/// to where one signs in, which takes a secret.
pub fn check(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).ok_or("the Host header is missing")?;
    if !is_here(host) {
        return Err("the console is asked by this machine's own names: 127.0.0.2, 127.0.0.1 or localhost");
    }
    let own = format!("http://{host}");
    if text(header::ORIGIN).is_some_and(|origin| origin != own) {
        return Err("another site's page must not speak to the console");
    }
    let leads_to_sign_in = *method == Method::GET && path == crate::session::SIGN_IN;
    match headers.get("sec-fetch-site").map(|value| value.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if leads_to_sign_in => Ok(()),
        Some(_) => Err("another site's page must not speak to the console"),
    }
}

/// A loopback address or `localhost`, with any port: the port may be forwarded.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check(&method, path, &map).is_ok()
    }

    #[test]
    fn its_own_pages_and_a_person_may_speak() {
        for host in ["127.0.0.2:4567", "127.0.0.1:4567", "localhost:9", "[::1]:4567"] {
            assert!(asked(Method::GET, "/", &[("host", host)]), "{host}");
        }
        let own = [("host", "127.0.0.2:4567"), ("origin", "http://127.0.0.2:4567"), ("sec-fetch-site", "same-origin")];
        assert!(asked(Method::POST, "/do/x", &own));
        assert!(asked(Method::GET, "/", &[("host", "127.0.0.2:4567"), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn nobody_else_may() {
        for host in ["evil.example", "127.0.0.2.evil.example", "10.0.0.1:4567", "localhost.evil.example:4567", ""] {
            assert!(!asked(Method::GET, "/", &[("host", host)]), "{host}");
        }
        assert!(!asked(Method::GET, "/", &[]));
        for origin in ["http://127.0.0.1:4567", "http://127.0.0.2", "null", "https://127.0.0.2:4567"] {
            assert!(!asked(Method::POST, "/do/x", &[("host", "127.0.0.2:4567"), ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            let headers = [("host", "127.0.0.2:4567"), ("sec-fetch-site", site)];
            assert!(!asked(Method::GET, "/", &headers) && !asked(Method::POST, "/sign-in", &headers));
            assert!(asked(Method::GET, "/sign-in", &headers), "a link from elsewhere leads there");
        }
    }
}
