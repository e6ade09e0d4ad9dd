//! Opening a TCP connection to wherever an endpoint is.

use crate::broker::Brokers;
use crate::stream::{Stream, Tls};
use crate::tls;
use quarry_domain::link::BrokerRequest;
use quarry_domain::snapshot::Endpoint;
use quarry_domain::task::TaskEntry;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Connecting takes this long at most; then it is a 504.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Inside a task, the balancer's connections come from here, so that the application can tell them
/// from its own.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The protocols of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speaks {
    pub tls: bool,
    pub http2: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// The fault is on this side: descriptors or ports have run out.
    #[error("this proxy is out of descriptors or ports: {0}")]
    Exhausted(io::Error),
    #[error("{0}")]
    Refused(io::Error),
    /// The target does not speak TLS, or not as it should.
    #[error("no TLS session: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Nowhere(String),
}

/// Connects within [`CONNECT_TIMEOUT`]. `port` replaces the endpoint's own, for health checks.
pub async fn connect(endpoint: &Endpoint, port: Option<u16>, brokers: &Brokers) -> Result<TcpStream, ConnectError> {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, open(endpoint, port, brokers));
    let stream = match opened.await {
        Err(_) => return Err(ConnectError::TimedOut),
        Ok(Err(e)) => return Err(e),
        Ok(Ok(stream)) => stream,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The same, with TLS where the target speaks it; `http2` offers that by ALPN.
pub async fn connect_target(
    endpoint: &Endpoint,
    port: Option<u16>,
    brokers: &Brokers,
    speaks: Speaks,
) -> Result<Stream, ConnectError> {
    let opened = async {
        let stream = open(endpoint, port, brokers).await?;
        stream.set_nodelay(true)?;
        if !speaks.tls {
            return Ok(Stream::from(stream));
        }
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let session = Tls::connect(stream, tls::client(speaks.http2), name).await;
        session.map(|tls| Stream::Tls(Box::new(tls))).map_err(ConnectError::Tls)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, opened).await.unwrap_or(Err(ConnectError::TimedOut))
}

async fn open(endpoint: &Endpoint, port: Option<u16>, brokers: &Brokers) -> Result<TcpStream, ConnectError> {
    match endpoint {
        Endpoint::Tcp(address) => outward(SocketAddr::new(address.ip(), port.unwrap_or(address.port()))).await,
        Endpoint::Task { entry: TaskEntry::Broker(broker), container_port, .. } => {
            let descriptor = brokers.descriptor(broker, &BrokerRequest::Stream).await?;
            let stream = std::net::TcpStream::from(descriptor);
            stream.set_nonblocking(true)?;
            let socket = TcpSocket::from_std_stream(stream);
            // In a namespace whose loopback is down this fails: the task's fault, not this side's.
            socket.bind(SocketAddr::from((SOURCE, 0))).map_err(ConnectError::Refused)?;
            Ok(socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(*container_port)))).await?)
        }
        Endpoint::Task { entry: TaskEntry::Host(ports), container_port, task } => {
            let wanted = port.unwrap_or(*container_port);
            let Some((_, host_port)) = ports.iter().find(|(container, _)| *container == wanted) else {
                return Err(ConnectError::Nowhere(format!("task {task} does not publish port {wanted}")));
            };
            outward(SocketAddr::from((Ipv4Addr::LOCALHOST, *host_port))).await
        }
        Endpoint::Host { name, port: own } => Ok(TcpStream::connect((name.as_str(), port.unwrap_or(*own))).await?),
        Endpoint::Barred => std::future::pending().await,
        Endpoint::Nowhere { reason } => Err(ConnectError::Nowhere(reason.clone())),
    }
}

/// Connects to somebody else: where nobody listens at a port from which connections of this host may come, the kernel
/// sooner or later connects a socket with itself.
async fn outward(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(address).await?;
    if address.ip().is_loopback() && stream.local_addr()? == address {
        return Err(ConnectError::Refused(io::ErrorKind::ConnectionRefused.into()));
    }
    Ok(stream)
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) => {
                Self::Exhausted(error)
            }
            _ => Self::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that connected with itself would be an answer by the request's own bytes, and would keep the target
    /// that starts next from its port.
    #[tokio::test]
    async fn nobody_is_connected_with_itself() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let (low, high) = range.trim().split_once(char::is_whitespace).unwrap();
        let (low, high): (u16, u16) = (low.parse().unwrap(), high.trim().parse().unwrap());
        // The kernel takes ports of the range's first parity for connections.
        let nobody = (low + (high - low) / 2) & !1 | (low & 1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, nobody));
        for _ in 0..u32::from(high - low) / 2 + 1000 {
            match outward(address).await {
                Err(ConnectError::Refused(_)) => {}
                Err(other) => panic!("{other}"),
                Ok(stream) => assert_ne!(stream.local_addr().unwrap(), stream.peer_addr().unwrap()),
            }
        }
    }
}
