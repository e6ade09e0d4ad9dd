//! A program for an image made from scratch: answers every request on $PORT (3000) with $ANSWER (`here`),
//! or with an argument, ends with that exit code.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    if let Some(code) = std::env::args().nth(1) {
        println!("ends with {code}");
        std::process::exit(code.parse().expect("an exit code"));
    }
    let port = std::env::var("PORT").map_or(3000, |port| port.parse().expect("a port"));
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("answers on {port}");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        std::thread::spawn(move || {
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let said = std::env::var("ANSWER").unwrap_or_else(|_| "here".into()) + "\n";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", said.len());
            let _ = stream.write_all((head + &said).as_bytes());
        });
    }
}
