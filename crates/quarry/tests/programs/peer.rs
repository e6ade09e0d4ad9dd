//! A program for an image made from scratch: one of several tasks that try to reach each other.
//!
//! `peer` answers HTTP on $PORT (3000), and on $ALSO if that is set:
//! - `/` with `peer <host name>`;
//! - `/connect/<address>` with what that address says, or `refused` and why;
//! - `/send/<address>/<bytes>` with the whole answer of that address to these bytes, in hexadecimal digits;
//! - `/datagram/<address>/<bytes>` by sending these bytes, in hexadecimal digits, there in a datagram;
//! - `/try/<address>` with `open` if a connection can be opened there at once, else `shut` and why;
//! - `/hold/<address>` by opening a connection and keeping it, `/held` with what is asked and answered on it;
//! - `/get/<address>/<path>` with the whole answer of that address to `GET /<path>`;
//! - `/env/<name>` with a variable;
//! - `/resolve/<name>` with the addresses that the C library's resolver finds, sorted, one a line;
//! - `/srv/<name>` with the ports of the name's SRV records, sorted, one a line;
//! - `/sick` by turning sick;
//! - `/bad/<fault>` by doing what harms: `crash`, `hang`, `leak`, `forks`, `fill`, `burn`; `/bad/` as `/`.
//!
//! `peer check` ends with 0 if the program in the same container is well, `peer wait` does so once
//! $PORT is served, `peer end <code>` at once, `peer talk` says line by line what it is told. `peer spin` uses all the processor time it can get.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SICK: &str = "/tmp/sick";
const PATIENCE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(700);
static HUNG: AtomicBool = AtomicBool::new(false);
static HELD: Mutex<Option<TcpStream>> = Mutex::new(None);

/// As process 1 it would be deaf to SIGTERM without a handler.
fn end_on_sigterm() {
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
}

fn main() {
    end_on_sigterm();
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |n: usize| arguments.get(n).map_or("", String::as_str);
    match argument(1) {
        "check" => std::process::exit(i32::from(std::path::Path::new(SICK).exists())),
        "end" => std::process::exit(argument(2).parse().expect("a code")),
        "wait" => {
            while TcpStream::connect(("127.0.0.1", port())).is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
            println!("served");
        }
        "talk" => talk(),
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => serve(),
    }
}

fn port() -> u16 {
    std::env::var("PORT").map_or(3000, |port| port.parse().expect("a port"))
}

/// Does line by line what it is told on its input, and ends with 0 when that ends.
fn talk() {
    unsafe extern "C" {
        fn ioctl(descriptor: i32, request: u64, argument: *mut [u16; 4]) -> i32;
    }
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("end", code) => std::process::exit(code.parse().expect("a code")),
            ("error", text) => eprintln!("{text}"),
            ("size", _) => {
                let mut size = [0; 4];
                // SAFETY: TIOCGWINSZ writes four numbers of two bytes.
                unsafe { ioctl(0, 0x5413, &mut size) };
                println!("{} rows, {} columns", size[0], size[1]);
            }
            _ => println!("said {line}"),
        }
    }
}

fn serve() {
    if let Ok(also) = std::env::var("ALSO") {
        std::thread::spawn(move || serve_on(also.parse().expect("a port")));
    }
    serve_on(port());
}

fn serve_on(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("answers on {port}");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        std::thread::spawn(move || {
            let (mut request, mut part) = (Vec::new(), [0; 8192]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(read @ 1..) => request.extend(&part[..read]),
                    Ok(_) | Err(_) => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/");
            while HUNG.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_secs(3600));
            }
            let said = answer(path);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", said.len());
            let _ = stream.write_all((head + &said).as_bytes());
        });
    }
}

fn answer(path: &str) -> String {
    let rest = |prefix: &str| path.strip_prefix(prefix);
    if let Some(address) = rest("/connect/") {
        return get(address, "/").unwrap_or_else(|error| format!("refused {error}"));
    }
    if let Some((address, bytes)) = rest("/send/").and_then(|rest| rest.split_once('/')) {
        return send(address, &bytes_of(bytes)).unwrap_or_else(|error| format!("refused {error}"));
    }
    if let Some((address, bytes)) = rest("/datagram/").and_then(|rest| rest.split_once('/')) {
        let socket = UdpSocket::bind("0.0.0.0:0");
        return match socket.and_then(|socket| socket.send_to(&bytes_of(bytes), address)) {
            Ok(sent) => format!("sent {sent}"),
            Err(error) => format!("refused {error}"),
        };
    }
    if let Some(address) = rest("/try/") {
        return open(address, SOON).map_or_else(|error| format!("shut {error}"), |_| "open".into());
    }
    if let Some(address) = rest("/hold/") {
        return match open(address, PATIENCE) {
            Ok(stream) => {
                *HELD.lock().unwrap() = Some(stream);
                "held".into()
            }
            Err(error) => format!("refused {error}"),
        };
    }
    if path == "/held" {
        let Some(stream) = HELD.lock().unwrap().take() else { return "nothing".into() };
        let request = b"GET / HTTP/1.1\r\nHost: held\r\nConnection: close\r\n\r\n";
        return ask(stream, request).unwrap_or_else(|error| format!("refused {error}"));
    }
    if let Some((address, path)) = rest("/get/").and_then(|rest| rest.split_once('/')) {
        return get(address, &format!("/{path}")).unwrap_or_else(|error| format!("refused {error}"));
    }
    if let Some(name) = rest("/resolve/") {
        return match (name, 0).to_socket_addrs() {
            Ok(found) => lines(found.map(|address| address.ip().to_string()).collect()),
            Err(error) => format!("unknown {error}"),
        };
    }
    if let Some(name) = rest("/srv/") {
        return srv(name).map_or_else(|error| format!("unknown {error}"), lines);
    }
    if let Some(name) = rest("/env/") {
        return std::env::var(name).unwrap_or_default();
    }
    if let Some(fault) = rest("/bad/").filter(|fault| !fault.is_empty()) {
        misbehave(fault);
    }
    if path == "/sick" {
        let made = std::fs::create_dir_all("/tmp").and_then(|()| std::fs::write(SICK, ""));
        return format!("{made:?}");
    }
    format!("peer {}", std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim())
}

/// Never comes back, and whoever asks gets no answer: harm is done to this service, and to others if it can be.
fn misbehave(fault: &str) -> ! {
    unsafe extern "C" {
        fn fork() -> i32;
    }
    match fault {
        "crash" => std::process::abort(),
        // All who come are kept waiting.
        "hang" => HUNG.store(true, Ordering::SeqCst),
        "leak" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 4 << 20]);
            }
        }
        // Children fork, too, as long as they may.
        "forks" => loop {
            // SAFETY: the child does nothing but fork and sleep.
            if unsafe { fork() } < 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
        },
        "fill" => loop {
            let _ = std::fs::create_dir_all("/tmp");
            let Ok(mut file) = std::fs::File::create("/tmp/full") else { continue };
            for _ in 0..128 {
                if file.write_all(&[1; 1 << 20]).and_then(|()| file.sync_data()).is_err() {
                    break;
                }
            }
        },
        _ => {
            for _ in 0..16 {
                std::thread::spawn(|| {
                    loop {
                        std::hint::spin_loop();
                    }
                });
            }
        }
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn lines(mut found: Vec<String>) -> String {
    found.sort();
    found.dedup();
    found.join("\n")
}

/// Asks the container's name server for SRV records.
fn srv(name: &str) -> std::io::Result<Vec<String>> {
    let configuration = std::fs::read_to_string("/etc/resolv.conf")?;
    let server = configuration.lines().find_map(|line| line.strip_prefix("nameserver "));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server.unwrap_or_default(), 53))?;
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, 33, 0, 1]);
    socket.send(&packet)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    let answer = &answer[..length];
    // The owner of each record is a pointer to the question's name.
    let (mut at, mut ports) = (packet.len(), Vec::new());
    for _ in 0..u16::from_be_bytes([answer[6], answer[7]]) {
        ports.push(u16::from_be_bytes([answer[at + 16], answer[at + 17]]).to_string());
        at += 12 + usize::from(u16::from_be_bytes([answer[at + 10], answer[at + 11]]));
    }
    Ok(ports)
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    send(address, request.as_bytes())
}

/// Two hexadecimal digits a byte.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

fn open(address: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let parsed = (address.to_socket_addrs()?.next()).ok_or(std::io::ErrorKind::NotFound)?;
    TcpStream::connect_timeout(&parsed, patience)
}

/// Status line and body of what an address answers to these bytes.
fn send(address: &str, request: &[u8]) -> std::io::Result<String> {
    ask(open(address, PATIENCE)?, request)
}

fn ask(mut stream: TcpStream, request: &[u8]) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(format!("{}\n{body}", head.lines().next().unwrap_or_default()))
}
