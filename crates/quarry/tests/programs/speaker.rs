//! A program for an image made from scratch: a service that says who it is.
//!
//! `speaker` answers every HTTP request on $PORT (3000) with a line `<service> <path>`, then its variables, a line
//! each; asked for `…/ask/<host>:<port>` with what that host answers. `speaker say <code> <word>…` prints the words and
//! ends with the code; `speaker wait` does nothing until it is ended.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("say") => {
            println!("{} {}", arguments[2..].join(" "), std::env::var("LEVEL").unwrap_or_default());
            std::process::exit(arguments[1].parse().expect("a code"));
        }
        Some("wait") => loop {
            std::thread::park();
        },
        _ => serve(),
    }
}

fn serve() {
    // As process 1 it would be deaf to SIGTERM without a handler.
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: _exit may be called from a handler.
        unsafe { _exit(0) }
    }
    // SAFETY: the C library's own function, with a handler of its type; 15 is SIGTERM.
    unsafe { signal(15, end) };
    let port: u16 = std::env::var("PORT").map_or(3000, |port| port.parse().expect("a port"));
    println!("listening on {port}");
    for stream in TcpListener::bind(("0.0.0.0", port)).expect("the port is free").incoming().flatten() {
        std::thread::spawn(|| answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    let name = std::env::var("COPILOT_SERVICE_NAME").unwrap_or_default();
    let mut body = format!("{name} {path}\n");
    match path.split_once("/ask/") {
        Some((_, address)) => match get(address) {
            Ok(text) => body.push_str(&text),
            Err(error) => body.push_str(&format!("refused: {error}\n")),
        },
        None => std::env::vars().for_each(|(name, value)| body.push_str(&format!("{name}={value}\n"))),
    }
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").ok()
}

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /asked HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
