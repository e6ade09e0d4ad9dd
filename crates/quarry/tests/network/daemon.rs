//! X-Ray's daemon as a task finds it: segments in datagrams, sampling rules over TCP.

use crate::site::Site;
use quarry_aws::xray::op::BatchGetTraces;
use quarry_testkit::wait_for;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// `ask`: asks a task, see `programs/peer.rs`.
pub fn takes_segments_and_tells_rules(site: &Site, ask: &dyn Fn(&str) -> String) {
    let address = ask("/env/AWS_XRAY_DAEMON_ADDRESS");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let trace = format!("1-{now:08x}-{:024x}", 0xdae_u32);
    let document =
        json!({"trace_id": trace, "id": "53995c3f42cd8ad8", "name": "peer", "start_time": now, "end_time": now + 1});
    let header = json!({"format": "json", "version": 1});
    // What is no document is left out.
    for datagram in ["not a segment".to_owned(), format!("{header}\n{{}}"), format!("{header}\n{document}")] {
        let said = ask(&format!("/datagram/{address}/{}", hexadecimal(&datagram)));
        assert_eq!(said, format!("sent {}", datagram.len()), "to {address}");
    }
    let segment = wait_for("the segment has come", || {
        let traces = site.call::<BatchGetTraces>(json!({"TraceIds": [trace]})).traces?;
        traces.into_iter().next()?.segments?.into_iter().next()?.document
    });
    assert_eq!(serde_json::from_str::<Value>(&segment).unwrap()["name"], "peer");

    let request = |path: &str| {
        let head = "Host: 198.19.0.1:2000\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close";
        ask(&format!("/send/{address}/{}", hexadecimal(&format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}"))))
    };
    let rules = request("/GetSamplingRules");
    assert!(rules.starts_with("HTTP/1.1 200") && rules.contains("\"RuleName\":\"Default\""), "{rules}");
    let groups = request("/Groups");
    assert!(groups.starts_with("HTTP/1.1 403") && groups.contains("Missing Authentication Token"), "{groups}");
}
