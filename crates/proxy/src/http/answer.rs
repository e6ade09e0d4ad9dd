//! Answers the balancer makes itself: errors, fixed responses and redirects, as an Application Load
//! Balancer words them.

use super::push_number;
use crate::front::Edits;
use quarry_domain::snapshot::FixedResponse;

/// Parts of an answer's head that differ between requests.
pub struct Style<'a> {
    /// IMF-fixdate.
    pub date: &'a [u8],
    pub keep_alive: bool,
    /// The request was a HEAD: no body follows.
    pub head_only: bool,
    /// What the listener changes.
    pub edits: &'a Edits,
}

/// An error with the balancer's small HTML page.
pub fn error(out: &mut Vec<u8>, status: u16, style: &Style<'_>) {
    let page = page(status);
    begin(out, status, style);
    out.extend_from_slice(b"Content-Type: text/html\r\nContent-Length: ");
    push_number(out, page.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    if !style.head_only {
        out.extend_from_slice(page.as_bytes());
    }
}

/// A 400 that says in plain words what to do.
pub fn refusal(out: &mut Vec<u8>, text: &str, style: &Style<'_>) {
    begin(out, 400, style);
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    push_number(out, text.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    if !style.head_only {
        out.extend_from_slice(text.as_bytes());
    }
}

/// A redirect to `location`.
pub fn redirect(out: &mut Vec<u8>, status: u16, location: &str, style: &Style<'_>) {
    let page = page(status);
    begin(out, status, style);
    out.extend_from_slice(b"Content-Type: text/html\r\nContent-Length: ");
    push_number(out, page.len() as u64);
    out.extend_from_slice(b"\r\nLocation: ");
    // What a client put into its path must not end the header line.
    out.extend(location.bytes().filter(|b| !b.is_ascii_control()));
    out.extend_from_slice(b"\r\n\r\n");
    if !style.head_only {
        out.extend_from_slice(page.as_bytes());
    }
}

/// A fixed response prepared by [`fixed_response`].
pub fn fixed(out: &mut Vec<u8>, status: u16, rest: &[u8], style: &Style<'_>) {
    begin(out, status, style);
    let end = match style.head_only {
        true => rest.windows(4).position(|w| w == b"\r\n\r\n").map_or(rest.len(), |at| at + 4),
        false => rest.len(),
    };
    out.extend_from_slice(&rest[..end]);
}

/// The part of a fixed response that is the same for every request: from Content-Type on.
pub fn fixed_response(fixed: &FixedResponse) -> Vec<u8> {
    let body = fixed.body.as_deref().unwrap_or_default();
    let content_type = fixed.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
    let content_type: String = content_type.chars().filter(|c| !c.is_control()).collect();
    if matches!(fixed.status, 204 | 304) || fixed.status < 200 {
        return b"\r\n".to_vec();
    }
    format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The reason phrase that goes with a status code.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        464 => "Incompatible Protocol Version",
        463 => "Too Many X-Forwarded-For Addresses",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirect",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Unknown",
        },
    }
}

fn begin(out: &mut Vec<u8>, status: u16, style: &Style<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(match style.edits.server {
        true => b"\r\nServer: awselb/2.0\r\nDate: ".as_slice(),
        false => b"\r\nDate: ",
    });
    out.extend_from_slice(style.date);
    out.extend_from_slice(match style.keep_alive {
        true => b"\r\nConnection: keep-alive\r\n".as_slice(),
        false => b"\r\nConnection: close\r\n",
    });
    out.extend_from_slice(style.edits.lines.as_bytes());
}

fn page(status: u16) -> String {
    let title = format!("{status} {}", reason(status));
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::UNEDITED;

    const STYLE: Style<'static> =
        Style { date: b"Thu, 01 Jan 1970 00:00:00 GMT", keep_alive: true, head_only: false, edits: &UNEDITED };

    #[test]
    fn an_error_page_has_its_length() {
        let mut out = Vec::new();
        error(&mut out, 503, &STYLE);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Temporarily Unavailable\r\nServer: awselb/2.0\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("<title>503 Service Temporarily Unavailable</title>"));
    }

    #[test]
    fn a_redirect_cannot_be_split() {
        let mut out = Vec::new();
        redirect(&mut out, 302, "http://a/\r\nSet-Cookie: x=1", &STYLE);
        assert!(String::from_utf8(out).unwrap().contains("Location: http://a/Set-Cookie: x=1\r\n"));
    }

    #[test]
    fn head_requests_get_a_fixed_responses_head() {
        let rest = fixed_response(&FixedResponse { status: 200, content_type: None, body: Some("hi".into()) });
        let mut out = Vec::new();
        fixed(&mut out, 200, &rest, &Style { head_only: true, ..STYLE });
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("Content-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\n"));
    }
}
