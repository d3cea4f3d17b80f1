//! The outgoing stream to one peer: dials, says hello, then writes whatever is queued, as long as the node runs.

use super::stream::{StreamError, UNEXPECTED, read, write};
use super::{Local, Peer, tls};
use crate::backoff::pauses;
use crate::{
    log_throttle::LogThrottle,
    spool::{Parts, Travelling},
};
use signonce_core::replica::hello::HelloReply;
use signonce_driver::Event;
use signonce_driver::frame::{FRAME_BYTES_MAX, Frame, FrameError, Purpose};
use signonce_protocol::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc::Receiver, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(120);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LONGEST: Duration = Duration::from_secs(1);
/// A stream on which nothing could be written for this long is given up: the peer is stopped or cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many bytes are collected before they are written together.
const COALESCE_BYTES: usize = 64 * 1024;

/// Throttles lines about connections: a broken peer can come and go many times a second.
static CONNECTED: LogThrottle<NodeId> = LogThrottle::new();
static LOST: LogThrottle<NodeId> = LogThrottle::new();
/// Throttles lines about refused certificates, which recur at every attempt until an operator acts.
static STRANGERS: LogThrottle<NodeId> = LogThrottle::new();

pub(super) async fn keep_connected(
    local: Arc<Local>,
    peer: Peer,
    mut frames: Receiver<Frame>,
    mut redial: watch::Receiver<u64>,
) {
    let mut waits = pauses(BACKOFF_FIRST, BACKOFF_LONGEST);
    let mut told_unreadable = false;
    loop {
        let greeted = greet(&local, &peer, Purpose::Messages).await;
        local.tls.dialled(peer.id, greeted.as_ref().err().and_then(refused));
        match greeted {
            Ok((mut stream, reply @ (HelloReply::Welcome { .. } | HelloReply::NoWitness))) => {
                waits = pauses(BACKOFF_FIRST, BACKOFF_LONGEST);
                CONNECTED.line(peer.id, |left_out| {
                    tracing::info!(peer = %peer.id, address = %peer.address, left_out, "connected to peer");
                });
                local.inbox.tell(Event::HelloReply { from: peer.id, reply });
                // What was queued in the meantime is stale; raft and the waiters send it again.
                while frames.try_recv().is_ok() {}
                local.inbox.tell(Event::Unreachable(peer.id));
                let written = tokio::select! {
                    written = write_frames(&mut stream, &mut frames) => written,
                    _ = redial.changed() => continue,
                };
                match written {
                    Ok(()) => return, // the node stops
                    Err(error) => LOST.line(peer.id, |left_out| {
                        tracing::warn!(peer = %peer.id, %error, left_out, "lost the stream to peer");
                    }),
                }
            }
            Ok((_, refused)) => local.inbox.tell(Event::HelloReply { from: peer.id, reply: refused }),
            // Every attempt logs the same, but an operator in the middle of an upgrade must see it.
            Err(error @ StreamError::Frame(FrameError::Unreadable(_)))
                if !std::mem::replace(&mut told_unreadable, true) => {
                tracing::warn!(
                    peer = %peer.id, %error,
                    "cannot understand this peer: it runs another version; the two cannot work together"
                );
            }
            Err(error) if refused(&error).is_some() => STRANGERS.line(peer.id, |left_out| {
                tracing::warn!(
                    peer = %peer.id, address = %peer.address, %error, left_out,
                    "no stream to this peer: the certificates of the two do not fit; both must be of one authority, \
                     and name node and cluster"
                );
            }),
            Err(error) => tracing::debug!(peer = %peer.id, %error, "cannot reach peer"),
        }
        local.inbox.tell(Event::Unreachable(peer.id));
        sleep(waits.next().unwrap_or(BACKOFF_LONGEST)).await;
    }
}

/// Sends one snapshot, with the records that belong behind it, and waits until the peer has taken it.
pub(super) async fn send_snapshot(
    local: &Local,
    peer: &Peer,
    frame: &Frame,
    records: Option<Parts>,
) -> Result<(), StreamError> {
    let (mut stream, HelloReply::Welcome { .. }) = greet(local, peer, Purpose::Snapshot).await? else {
        return Err(UNEXPECTED);
    };
    in_time(write(frame, &mut stream)).await?;
    if let Some(mut records) = records {
        loop {
            match records.recv().await {
                Some(Travelling::Part(part)) => in_time(write(&Frame::Records(part), &mut stream)).await?,
                Some(Travelling::End) => break,
                // The capture is gone, and the peer must not take an incomplete snapshot for a complete one.
                None => return Err(UNEXPECTED),
            }
        }
        in_time(write(&Frame::RecordsEnd, &mut stream)).await?;
    }
    let answer = in_time(read(&mut stream, FRAME_BYTES_MAX)).await?;
    if matches!(answer, Frame::Arrived) { Ok(()) } else { Err(UNEXPECTED) }
}

/// Bounds one step of sending a snapshot. How many steps there are depends on the size of the state.
async fn in_time<T>(step: impl Future<Output = Result<T, StreamError>>) -> Result<T, StreamError> {
    timeout(SNAPSHOT_TIMEOUT, step).await.unwrap_or_else(|_| Err(timed_out()))
}

async fn greet(
    local: &Local,
    peer: &Peer,
    purpose: Purpose,
) -> Result<(TlsStream<TcpStream>, HelloReply), StreamError> {
    timeout(CONNECT_TIMEOUT, async {
        let socket = TcpStream::connect(&peer.address).await?;
        socket.set_nodelay(true)?;
        let connector = TlsConnector::from(local.tls.client());
        let mut stream = connector.connect(tls::server_name(&local.cluster, peer.id), socket).await?;
        let hello = local.hello.read().expect("nobody panics with it").clone();
        write(&Frame::Hello(hello, purpose), &mut stream).await?;
        let Frame::HelloReply(reply) = read(&mut stream, FRAME_BYTES_MAX).await? else {
            return Err(UNEXPECTED);
        };
        Ok((stream, reply))
    })
    .await
    .unwrap_or_else(|_| Err(timed_out()))
}

/// Writes frames until the queue closes or the stream breaks. The peer never writes after its hello, so a readable
/// stream is a closed one.
async fn write_frames(
    stream: &mut TlsStream<TcpStream>,
    frames: &mut Receiver<Frame>,
) -> Result<(), StreamError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut unexpected = [0; 1];
    loop {
        let first = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => frame,
                None => return Ok(()),
            },
            _ = tokio::io::AsyncReadExt::read(&mut reader, &mut unexpected) => {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
        };
        let mut bytes = first.to_bytes();
        while bytes.len() < COALESCE_BYTES {
            let Ok(next) = frames.try_recv() else { break };
            bytes.extend_from_slice(&next.to_bytes());
        }
        let write = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await.map_err(|_| timed_out())??;
    }
}

/// The TLS error with which one of the two sides refused the other.
fn refused(error: &StreamError) -> Option<&rustls::Error> {
    let StreamError::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref()
}

fn timed_out() -> StreamError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
