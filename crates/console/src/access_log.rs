//! Lines of an Application Load Balancer's access log (AWS's documentation, "Access log entries").

/// What a line tells of its request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// When it was answered, ISO 8601.
    pub at: String,
    pub client: String,
    /// The target it was sent to; empty where it was sent to none.
    pub target: String,
    /// From the request's arrival to the answer's beginning, in seconds; none where no answer came.
    pub seconds: Option<f64>,
    /// Of the answer to the client.
    pub status: u16,
    /// Of the target's answer.
    pub target_status: Option<u16>,
    pub method: String,
    pub url: String,
    /// The name in the target group's ARN.
    pub group: String,
    /// The rule's priority, 0 for the default rule.
    pub rule: Option<u32>,
    /// `forward`, `redirect`, `fixed-response` …
    pub action: String,
    /// The trace's id.
    pub trace: String,
    /// The trace was recorded.
    pub sampled: bool,
}

/// A line's fields; none where it is no line of an access log.
pub fn read(line: &str) -> Option<Request> {
    let fields = fields(line);
    let field = |number: usize| fields.get(number).copied().filter(|field| *field != "-").unwrap_or_default();
    // The trace's id is the 18th; what follows it came later and may be missing.
    if fields.len() < 18 {
        return None;
    }
    let times: Vec<f64> = (5..8).filter_map(|number| fields[number].parse().ok()).filter(|time| *time >= 0.0).collect();
    let mut request = field(12).split(' ');
    let (method, url) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let part = |name: &str| field(17).split(';').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    Some(Request {
        at: field(1).to_owned(),
        client: field(3).to_owned(),
        target: field(4).to_owned(),
        seconds: (times.len() == 3).then(|| times.iter().sum()),
        status: field(8).parse().unwrap_or_default(),
        target_status: field(9).parse().ok(),
        method: method.to_owned(),
        url: url.to_owned(),
        group: crate::words::group_name(field(16)).to_owned(),
        rule: field(20).parse().ok(),
        action: field(22).to_owned(),
        trace: part("Root=").to_owned(),
        sampled: part("Sampled=") == "1",
    })
}

/// The path and query of a URL.
pub fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// Parted by blanks; what stands in quotes is one, without them. Quotes within are escaped as `\x22`.
fn fields(line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        all.push(field);
        rest = after.trim_start_matches(' ');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_request() {
        let line = r#"http 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.000 0.001 0.002 200 200 34 366 "GET http://www.example.com:80/a?b=1 HTTP/1.1" "curl/7.46.0 (x)" - - arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Self=1-aa;Root=1-58337262-36d228ad5d99923122bbe354;Parent=00f067aa0ba902b7;Sampled=1" "-" "-" 3 2018-07-02T22:22:48.364000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1234"#;
        let request = read(line).unwrap();
        assert_eq!((request.status, request.target_status, request.rule), (200, Some(200), Some(3)));
        assert_eq!((request.method.as_str(), path(&request.url)), ("GET", "/a?b=1"));
        assert!((request.seconds.unwrap() - 0.003).abs() < 1e-9);
        assert_eq!((request.group.as_str(), request.action.as_str()), ("my-targets", "forward"));
        assert_eq!((request.trace.as_str(), request.sampled), ("1-58337262-36d228ad5d99923122bbe354", true));
    }

    #[test]
    fn what_has_no_target_has_no_time() {
        let line = r#"http 2018-11-30T22:23:00.186641Z app/x/y 1.2.3.4:5 - -1 -1 -1 502 - 34 366 "- http://x:80- -" "-" - - - "Root=1-2-3" "-" "-" 0 2018-11-30T22:22:48.364000Z "forward" "-" "-" "-" "-" "-" "-" TID_1"#;
        let request = read(line).unwrap();
        assert_eq!((request.seconds, request.status, request.target_status), (None, 502, None));
        assert!(request.target.is_empty() && !request.sampled && request.rule == Some(0));
        assert!(read("no such line").is_none() && read("").is_none());
        assert_eq!([path("http://x:80"), path("/a")], ["/", "/a"]);
    }
}
