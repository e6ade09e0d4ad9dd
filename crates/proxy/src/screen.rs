//! What the kernel does for security groups: who may not connect gets no answer at all, as on AWS, because a
//! socket filter on the listening socket drops the first packet. The filter follows the snapshot; that a
//! connection which came in all the same is looked at again when it is accepted is what groups rest on.

use crate::listen::Want;
use quarry_domain::address;
use quarry_domain::block::Block;
use quarry_domain::security_group::Security;
use quarry_domain::snapshot::Snapshot;
use socket2::{SockFilter, SockRef};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// Whose packets a listening socket drops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Nobodys,
    Everybodys,
    /// Of these sources, ascending.
    Of(Vec<Ipv4Addr>),
}

/// Makes the screens of a snapshot.
pub struct Screens<'a> {
    snapshot: &'a Snapshot,
    /// The addresses that tasks' connections come from.
    sources: Vec<Ipv4Addr>,
    /// Of all sockets together: pairs of source and socket that may still be looked at.
    left: usize,
}

/// More sources than this are not screened: classic BPF holds 4,096 instructions.
const MOST_SOURCES: usize = 1000;
/// More pairs than this are not looked at: it would keep the snapshot waiting.
const MOST_PAIRS: usize = 200_000;

/// Where programs of this machine connect from.
const HOST: &str = "127.0.0.0/8";

impl<'a> Screens<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let sources = snapshot.security.interfaces.keys().copied();
        let sources = sources.filter(|source| address::told(*source).is_some()).collect();
        Self { snapshot, sources, left: MOST_PAIRS }
    }

    pub fn of(&mut self, want: &Want) -> Screen {
        let security = &self.snapshot.security;
        match want {
            Want::Own { address, port, .. } => host(is_shut(security, *address, *port)),
            Want::Shared { port } => {
                let sharing = self.snapshot.load_balancers.iter();
                let mut sharing = sharing.filter(|lb| lb.listeners.iter().any(|l| l.port == *port)).peekable();
                host(sharing.peek().is_some() && sharing.all(|lb| is_shut(security, lb.address, *port)))
            }
            Want::Hub { address, port, .. } => self.tasks(*address, *port),
            Want::RelayHub(SocketAddr::V4(at), _) => self.tasks(*at.ip(), at.port()),
            Want::RelayHub(SocketAddr::V6(_), _) | Want::RelayHost(_) => Screen::Nobodys,
        }
    }

    fn tasks(&mut self, to: Ipv4Addr, port: u16) -> Screen {
        let Some(left) = self.left.checked_sub(self.sources.len()) else { return Screen::Nobodys };
        self.left = left;
        let refused = |source: &Ipv4Addr| !self.snapshot.security.admits(*source, to, port);
        let refused: Vec<Ipv4Addr> = self.sources.iter().copied().filter(refused).collect();
        match refused.len() {
            1..=MOST_SOURCES => Screen::Of(refused),
            _ => Screen::Nobodys,
        }
    }
}

fn host(shut: bool) -> Screen {
    if shut { Screen::Everybodys } else { Screen::Nobodys }
}

fn is_shut(security: &Security, to: Ipv4Addr, port: u16) -> bool {
    security.is_shut(to, port, Block::parse(HOST).expect("a block"))
}

impl Screen {
    /// Puts it in force for what comes in from now on.
    pub fn attach(&self, listener: &TcpListener) -> io::Result<()> {
        let socket = SockRef::from(listener);
        match self {
            Self::Nobodys => match socket.detach_filter() {
                Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
                _ => Ok(()),
            },
            Self::Everybodys => socket.attach_filter(&program(&[], DROP)),
            Self::Of(sources) => socket.attach_filter(&program(sources, PASS)),
        }
    }
}

/// An accepted connection has its listener's filter; it needs none any more.
pub fn lift(stream: &impl AsFd) {
    let _ = SockRef::from(stream).detach_filter();
}

const DROP: u32 = 0;
const PASS: u32 = u32::MAX;

/// Drops packets from `sources`; `others` is what becomes of the rest.
fn program(sources: &[Ipv4Addr], others: u32) -> Vec<SockFilter> {
    // linux/filter.h: the IPv4 header is found at this offset, its source address 12 bytes on.
    const NETWORK_HEADER: u32 = -0x10_0000_i32 as u32;
    let statement = |code: u32, k| SockFilter::new(code as u16, 0, 0, k);
    let mut program = Vec::with_capacity(2 * sources.len() + 2);
    program.push(statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NETWORK_HEADER + 12));
    for source in sources {
        // Where it is not this source, the next instruction is skipped.
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        program.push(SockFilter::new(code, 0, 1, u32::from(*source)));
        program.push(statement(libc::BPF_RET | libc::BPF_K, DROP));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, others));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    /// One listening socket, asked from two addresses of the loopback.
    #[test]
    fn who_is_screened_gets_no_answer_and_the_rest_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let connect = |from: [u8; 4]| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.connect_timeout(&at.into(), Duration::from_millis(300)).map(|()| TcpStream::from(socket))
        };
        let (one, two) = ([127, 0, 0, 1], [127, 0, 0, 2]);
        let is_dropped = |from| connect(from).is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        assert!(connect(one).is_ok() && connect(two).is_ok());
        Screen::Of(vec![two.into()]).attach(&listener).unwrap();
        assert!(connect(one).is_ok() && is_dropped(two));
        Screen::Everybodys.attach(&listener).unwrap();
        assert!(is_dropped(one) && is_dropped(two));
        let many: Vec<Ipv4Addr> = (0..MOST_SOURCES as u32).map(|n| (0x7f00_0002 + n).into()).collect();
        Screen::Of(many).attach(&listener).unwrap();
        assert!(connect(one).is_ok() && is_dropped(two) && is_dropped([127, 0, 3, 1]));
        for _ in 0..2 {
            Screen::Nobodys.attach(&listener).unwrap();
            assert!(connect(one).is_ok() && connect(two).is_ok());
        }
    }
}
