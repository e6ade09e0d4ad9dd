//! A container's program: says which values it has without showing them, then waits.

use std::io::Write;

/// FNV-1a, 64 bits: enough to tell that the value is the right one.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn main() {
    let mut out = std::io::stdout();
    for name in ["PASSWORD", "USER_NAME", "KEY", "PLAIN"] {
        let value = std::env::var(name).unwrap_or_default();
        let _ = writeln!(out, "{name} {} {:016x}", value.len(), fingerprint(&value));
    }
    let _ = writeln!(out, "done");
    let _ = out.flush();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
