//! Messages over CometBFT's SecretConnection.
//!
//! A node makes a new key at every start, so the key says nothing about who it is, but tells one run of the node from
//! the next: a node that comes back with the same key has not been restarted and has forgotten nothing.

use super::{DialError, Life, Link, Reader, Writer};
use crate::{address::HostPort, identity::Identity};
use cometbft_p2p::AsyncSecretConnection;
use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// How long the machine at the other end may be silent before it is asked whether it is there, how long it has to
/// answer, and how long what was sent may stay unacknowledged: the shortest that the system counts in.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) async fn dial(at: &HostPort, identity: &Identity) -> Result<Link, DialError> {
    let stream = connect(at).await?;
    let connection = AsyncSecretConnection::new(stream, identity.signing_key())
        .await
        .map_err(|error| DialError::Handshake(error.to_string()))?;
    let life = Life(connection.peer_public_key().peer_id().to_string().into_bytes());
    let (reader, writer) = connection.split();
    Ok(Link { reader: Reader::Secret(reader), writer: Writer::Secret(writer), life: Some(life) })
}

/// A TCP connection whose other end is soon known to be gone, even if it was switched off.
pub(super) async fn connect(HostPort { host, port }: &HostPort) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE).with_retries(1))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(stream)
}
