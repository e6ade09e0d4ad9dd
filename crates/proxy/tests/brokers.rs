//! Tasks and the hub, reached through brokers that hand out sockets.

mod common;

use common::*;
use quarry_domain::link::{BrokerReply, BrokerRequest};
use quarry_domain::snapshot::*;
use quarry_domain::task::TaskEntry;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A broker in this process and this network namespace. Addresses on the hub are given ports of
/// 127.0.0.1 instead, which `found` tells.
#[derive(Clone)]
struct Broker {
    path: PathBuf,
    connections: Arc<Mutex<Vec<OwnedFd>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request, and where it was really bound.
type Asked = (BrokerRequest, Option<SocketAddr>);

impl Broker {
    fn start(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        net::listen(&socket, 16).unwrap();
        let broker = Self { path: path.to_owned(), connections: Arc::default(), asked: Arc::default() };
        let shared = broker.clone();
        std::thread::spawn(move || {
            while let Ok(connection) = net::accept(&socket) {
                let shared = shared.clone();
                shared.connections.lock().unwrap().push(connection.try_clone().unwrap());
                std::thread::spawn(move || shared.converse(&connection));
            }
        });
        broker
    }

    fn converse(&self, connection: &OwnedFd) {
        let mut packet = [0u8; 4096];
        while let Ok((n, _)) = net::recv(connection, &mut packet[..], RecvFlags::empty()) {
            if n == 0 {
                return;
            }
            let request: BrokerRequest = serde_json::from_slice(&packet[..n]).unwrap();
            let (reply, descriptor, at) = Self::act(&request);
            self.asked.lock().unwrap().push((request, at));
            let reply = serde_json::to_vec(&reply).unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            if !descriptors.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            }
            net::sendmsg(connection, &[IoSlice::new(&reply)], &mut control, SendFlags::NOSIGNAL).unwrap();
        }
    }

    fn act(request: &BrokerRequest) -> (BrokerReply, Option<OwnedFd>, Option<SocketAddr>) {
        match request {
            BrokerRequest::Stream => {
                let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                (BrokerReply::Descriptor, Some(socket), None)
            }
            BrokerRequest::Listen { .. } => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let at = listener.local_addr().unwrap();
                (BrokerReply::Descriptor, Some(listener.into()), Some(at))
            }
            BrokerRequest::Datagram { .. } => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let at = socket.local_addr().unwrap();
                (BrokerReply::Descriptor, Some(socket.into()), Some(at))
            }
            BrokerRequest::Release { .. } => (BrokerReply::Done, None, None),
            other => (BrokerReply::Failed(format!("not here: {other:?}")), None, None),
        }
    }

    /// Ends as a broker does that is killed.
    fn end(self) {
        let _ = std::fs::remove_file(&self.path);
        for connection in self.connections.lock().unwrap().iter() {
            let _ = net::shutdown(connection, net::Shutdown::Both);
        }
    }

    /// Where a request for this address was really bound.
    fn found(&self, wanted: &BrokerRequest) -> Option<SocketAddr> {
        self.asked.lock().unwrap().iter().rev().find(|(request, _)| request == wanted).and_then(|(_, at)| *at)
    }
}

fn task(broker: &Path, port: u16) -> Endpoint {
    Endpoint::Task { task: "t".into(), entry: TaskEntry::Broker(broker.to_owned()), container_port: port }
}

#[test]
fn tasks_are_reached_through_their_shim() {
    let port = free_port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let from = seen.clone();
    let target = Upstream::start(move |mut peer| {
        from.lock().unwrap().push(peer.stream.peer_addr().unwrap().ip());
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntask");
        }
    });
    let proxy = Proxy::start();
    let shim = proxy.dir.0.join("s");
    let broker = Broker::start(&shim);
    proxy.serve.apply_healthy(&simple(port, &[task(&shim, target.address.port())]));
    for _ in 0..4 {
        assert_eq!(get(port, "/").text(), "task");
    }
    assert!(seen.lock().unwrap().iter().all(|ip| *ip == Ipv4Addr::new(127, 0, 0, 2)), "{seen:?}");
    // A shim that is replaced is asked afresh.
    broker.end();
    let broker = Broker::start(&shim);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(get(port, "/").text(), "task");
    assert!(!broker.asked.lock().unwrap().is_empty());
}

#[test]
fn a_dead_shim_is_a_target_that_refuses() {
    let (port, good) = (free_port(), Upstream::echo("good"));
    let mut snapshot = simple(port, &[task(Path::new("/nonexistent/s"), 80), good.endpoint()]);
    snapshot.target_groups.get_mut("g").unwrap().health_check.enabled = false;
    let _proxy = Proxy::serving(&snapshot);
    for _ in 0..6 {
        assert_eq!(get(port, "/").text().lines().next(), Some("good"));
    }
}

#[test]
fn tasks_without_a_namespace_are_reached_at_their_host_port() {
    let (port, target) = (free_port(), Upstream::echo("host"));
    let entry = TaskEntry::Host(vec![(3000, target.address.port())]);
    let endpoint = Endpoint::Task { task: "t".into(), entry, container_port: 3000 };
    let _proxy = Proxy::serving(&simple(port, &[endpoint]));
    assert_eq!(get(port, "/").text().lines().next(), Some("host"));
}

#[test]
fn the_hub_has_listeners_names_and_relays() {
    let (port, target, raw) = (free_port(), Upstream::echo("t"), TcpListener::bind("127.0.0.1:0").unwrap());
    let raw_address = raw.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in raw.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0u8; 5];
            stream.read_exact(&mut bytes).unwrap();
            bytes.reverse();
            stream.write_all(&bytes).unwrap();
        }
    });
    // Answers with the packet turned round, its transport and the snapshot's version.
    let proxy = Proxy::with_names(Arc::new(|snapshot| {
        let version = b'0' + snapshot.version as u8;
        Arc::new(move |packet, from, tcp| {
            assert!(from.is_loopback());
            let mut answer: Vec<u8> = packet.iter().rev().copied().collect();
            answer.extend([if tcp { b't' } else { b'u' }, version]);
            Some(answer)
        })
    }));
    let broker = Broker::start(&proxy.dir.0.join("h"));
    let hub_address = Ipv4Addr::new(198, 19, 0, 1);
    let lb_address = Ipv4Addr::new(198, 19, 1, 1);
    let relay_port = free_port();
    let endpoint_on_hub = SocketAddr::from((hub_address, 4566));
    let mut snapshot = simple(port, &[target.endpoint()]);
    snapshot.hub = Some(Hub { broker: broker.path.clone(), address: hub_address });
    snapshot.load_balancers[0].hub_address = Some(lb_address);
    snapshot.relays = vec![
        Relay { listen: RelayListen::Hub(endpoint_on_hub), to: Endpoint::Tcp(raw_address), tells_source: false },
        Relay {
            listen: RelayListen::Host(SocketAddr::from(([127, 0, 0, 1], relay_port))),
            to: Endpoint::Tcp(raw_address),
            tells_source: false,
        },
    ];
    proxy.serve.apply_healthy(&snapshot);

    let at = |address| broker.found(&BrokerRequest::Listen { address }).expect("asked for");
    let on_hub = at(SocketAddr::from((lb_address, port)));
    assert_eq!(Peer::connect(on_hub).get("/").text().lines().next(), Some("t"));
    for relay in [at(endpoint_on_hub), SocketAddr::from(([127, 0, 0, 1], relay_port))] {
        let mut stream = TcpStream::connect(relay).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, "olleh");
    }
    let names = SocketAddr::from((hub_address, 53));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    udp.send_to(b"abc", broker.found(&BrokerRequest::Datagram { address: names }).unwrap()).unwrap();
    let mut bytes = [0u8; 16];
    let n = udp.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..n], b"cbau1");
    let mut tcp = Peer::connect(at(names));
    tcp.stream.write_all(b"\0\x03abc").unwrap();
    assert_eq!(tcp.take(7).unwrap(), b"\0\x05cbat1");

    // A holder that is replaced is asked for everything again.
    let path = broker.path.clone();
    broker.end();
    let broker = Broker::start(&path);
    let deadline = std::time::Instant::now() + PATIENCE;
    let address = SocketAddr::from((lb_address, port));
    while broker.found(&BrokerRequest::Listen { address }).is_none()
        || broker.found(&BrokerRequest::Datagram { address: names }).is_none()
    {
        assert!(std::time::Instant::now() < deadline, "the hub's sockets are not asked for again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let on_hub = broker.found(&BrokerRequest::Listen { address }).unwrap();
    assert_eq!(Peer::connect(on_hub).get("/").text().lines().next(), Some("t"));

    snapshot.version = 2;
    snapshot.load_balancers.clear();
    proxy.serve.apply(&snapshot);
    let released = BrokerRequest::Release { address: lb_address };
    assert!(broker.asked.lock().unwrap().iter().any(|(request, _)| *request == released));
}
