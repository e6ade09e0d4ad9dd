//! TLS over TCP by rustls, tried and waited for like a socket.

use crate::tls::{Chosen, choosing};
use rustls::server::Acceptor;
use rustls::{ClientConfig, Connection, HandshakeKind, ServerConfig};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A TLS session and its socket.
pub struct Tls {
    tcp: TcpStream,
    session: RefCell<Connection>,
    chosen: Option<Chosen>,
    began: Instant,
    took: Duration,
}

/// What was agreed on in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// By OpenSSL's name, as access logs and headers have it.
    pub cipher: String,
    pub server_name: Option<String>,
    /// What the client was shown; `None` where an older session went on.
    pub chosen: Option<Chosen>,
    /// The group of the key exchange, such as `X25519`.
    pub key_exchange: String,
    /// The handshake's time.
    pub took: Duration,
    /// HTTP/2 was chosen (ALPN `h2`).
    pub http2: bool,
}

impl TlsInfo {
    /// The server name and the certificate as access logs have them: the name only where a certificate is for it.
    pub fn shown(&self) -> (&str, &str) {
        let name = self.server_name.as_deref().unwrap_or_default();
        match &self.chosen {
            None => (name, "session-reused"),
            Some(chosen) => (if chosen.by_name { name } else { "" }, &chosen.arn),
        }
    }
}

/// A socket for rustls: whatever would block is said so.
struct Raw<'a>(&'a TcpStream);

impl Tls {
    /// Takes a client's handshake; `choose` finds the settings by the server name that it asks for.
    pub async fn accept(
        tcp: TcpStream,
        choose: impl FnOnce(Option<&str>) -> Option<Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        let began = Instant::now();
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            tcp.readable().await?;
            match acceptor.read_tls(&mut Raw(&tcp)) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let _ = alert.write(&mut Raw(&tcp));
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
            }
        };
        let config = choose(accepted.client_hello().server_name()).ok_or(ErrorKind::NotFound)?;
        let (made, chosen) = choosing(|| accepted.into_connection(config));
        let session = match made {
            Ok(session) => session,
            Err((error, mut alert)) => {
                let _ = alert.write(&mut Raw(&tcp));
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        };
        let mut tls = Self { tcp, session: RefCell::new(session.into()), chosen, began, took: Duration::ZERO };
        tls.handshake().await?;
        tls.took = tls.began.elapsed();
        Ok(tls)
    }

    /// Begins a session with a server.
    pub async fn connect(
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> io::Result<Self> {
        let session = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
        let (began, took) = (Instant::now(), Duration::ZERO);
        let tls = Self { tcp, session: RefCell::new(session.into()), chosen: None, began, took };
        tls.handshake().await?;
        Ok(tls)
    }

    /// The socket under the session.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What the handshake came to.
    pub fn info(&self) -> TlsInfo {
        let session = self.session.borrow();
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite = session.negotiated_cipher_suite().map(|suite| crate::tls::openssl_name(suite.suite()));
        let server_name = match &*session {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        };
        let http2 = session.alpn_protocol() == Some(b"h2");
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        TlsInfo {
            version,
            cipher: suite.unwrap_or_default().to_owned(),
            server_name,
            chosen: self.chosen.clone().filter(|_| !resumed),
            key_exchange: group.unwrap_or_else(|| "-".into()),
            took: self.took,
            http2,
        }
    }

    async fn handshake(&self) -> io::Result<()> {
        loop {
            match self.try_flush() {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.tcp.writable().await?;
                    continue;
                }
                Err(e) => return Err(e),
            }
            if !self.session.borrow().is_handshaking() {
                return Ok(());
            }
            let received = self.receive(&mut self.session.borrow_mut());
            match received {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.tcp.readable().await?,
                Err(e) => return Err(e),
            }
        }
    }

    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        loop {
            match session.reader().read(into) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.receive(&mut session)?;
                }
                result => return result,
            }
        }
    }

    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        // What was taken before goes first; so no more than one write lies in this process.
        self.flush(&mut session)?;
        let n = session.writer().write_vectored(slices)?;
        match self.flush(&mut session) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(n),
        }
    }

    /// Takes bytes without sending them, as long as there is room.
    pub fn try_gather(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        match session.writer().write_vectored(slices)? {
            0 => {
                self.flush(&mut session)?;
                session.writer().write_vectored(slices)
            }
            n => Ok(n),
        }
    }

    pub fn try_flush(&self) -> io::Result<()> {
        self.flush(&mut self.session.borrow_mut())
    }

    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (has_plaintext, wants_write) = {
            let mut session = self.session.borrow_mut();
            let state = session.process_new_packets().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
            (state.plaintext_bytes_to_read() > 0 || state.peer_has_closed(), session.wants_write())
        };
        if has_plaintext {
            return Poll::Ready(Ok(()));
        }
        // Answers of the session itself, such as a key update, go out beside.
        if wants_write && self.tcp.poll_write_ready(cx)?.is_ready() {
            match self.try_flush() {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(e)),
                _ => {}
            }
        }
        self.tcp.poll_read_ready(cx)
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.tcp.poll_write_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    /// The alert `close_notify`, as far as the socket takes it.
    pub fn goodbye(&self) {
        self.session.borrow_mut().send_close_notify();
        let _ = self.try_flush();
    }

    pub fn shutdown(&self) -> io::Result<()> {
        self.goodbye();
        socket2::SockRef::from(&self.tcp).shutdown(Shutdown::Write)
    }

    pub fn abort(&self) {
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Reads from the socket into the session.
    fn receive(&self, session: &mut Connection) -> io::Result<usize> {
        let n = session.read_tls(&mut Raw(&self.tcp))?;
        if let Err(error) = session.process_new_packets() {
            // The alert that tells the other side why.
            let _ = session.write_tls(&mut Raw(&self.tcp));
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(n)
    }

    fn flush(&self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            if session.write_tls(&mut Raw(&self.tcp))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        super::try_read(self.0, into)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
