//! Incoming streams: checks who the peer is, answers its hello, passes its frames to the driver.

use super::stream::{StreamError, UNEXPECTED, read, write};
use super::{Local, tls};
use crate::places::{Entry, Places, Rules};
use crate::{inbox::Input, log_throttle::LogThrottle, spool::SpoolWriter};
use signonce_core::replica::hello::{ClusterId, Hello, HelloReply, Life};
use signonce_core::replica::wire::{Beside, PeerMessage};
use signonce_driver::Event;
use signonce_driver::frame::{FRAME_BYTES_MAX, Frame, FrameError, Purpose, SNAPSHOT_BYTES_MAX};
use signonce_protocol::NodeId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest hello in bytes. It names the members and what is known of their lives: a few hundred bytes.
const HELLO_BYTES_MAX: usize = 256 << 10;
/// The most streams of one node at a time: one for messages, others for snapshots, and those from before a restart
/// whose end this node has not noticed.
const STREAMS_OF_A_NODE: usize = 8;

/// The places of the peer port. A cluster has a handful of peers.
pub const PEER_PLACES: Rules =
    Rules { strangers: 64, per_address: 16, patience: Duration::from_secs(3), known: 64 };

/// The identity on a stream, proved by its certificate: members, and nodes of other clusters until they are told.
type Who = (ClusterId, NodeId);
/// A snapshot of which nothing arrives for this long is given up.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

static CANNOT_ACCEPT: LogThrottle<()> = LogThrottle::new();
/// Throttles lines that anybody with a certificate of the authority can cause.
static IMPOSTORS: LogThrottle<()> = LogThrottle::new();
/// Throttles lines that anybody can cause.
static CROWDED: LogThrottle<()> = LogThrottle::new();

pub(super) async fn accept_peers(local: Arc<Local>, listener: TcpListener) {
    let places = Places::new(PEER_PLACES, local.places.clone());
    let mut streams = JoinSet::new(); // ends with this task
    loop {
        while streams.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, address)) => {
                let place = places.enter(Some(address.ip()));
                streams.spawn(keep_stream(Arc::clone(&local), socket, address, place));
            }
            Err(error) => {
                // For example out of file descriptors: that passes, but a listener that gave up would not come back.
                CANNOT_ACCEPT.line((), |left_out| {
                    tracing::warn!(%error, left_out, "cannot accept peers at the moment");
                });
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Serves one stream until it ends or its place is needed.
async fn keep_stream(local: Arc<Local>, socket: TcpStream, address: SocketAddr, place: Entry<Who>) {
    let ended = tokio::select! {
        ended = serve(&local, socket, &place) => ended,
        why = place.gives_way() => {
            return CROWDED.line((), |left_out| {
                tracing::info!(%address, left_out, "a connection to the peer port was closed: {why}");
            });
        }
    };
    match ended {
        Ok(()) => {}
        // A peer of another version: as it dials again and again, it would fill the log.
        Err(error @ StreamError::Frame(FrameError::Unreadable(_)))
            if !local.told_unreadable.swap(true, Ordering::Relaxed) =>
        {
            tracing::warn!(%address, %error, "a peer says what this node cannot read");
        }
        Err(error) => tracing::debug!(%address, %error, "a peer's stream ended"),
    }
}

async fn serve(local: &Local, socket: TcpStream, place: &Entry<Who>) -> Result<(), StreamError> {
    let greeting = timeout(GREETING_TIMEOUT, greet(local, socket, place)).await;
    let (mut stream, from, life, purpose) =
        greeting.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    if purpose == Purpose::Snapshot {
        let message = Box::new(read_snapshot(local, &mut stream).await?);
        local.inbox.tell(Event::Raft { from, life, message });
        return write(&Frame::Arrived, &mut stream).await;
    }
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut gone = local.gone.subscribe();
    let mut first = true;
    loop {
        let frame = tokio::select! {
            frame = read(&mut stream, FRAME_BYTES_MAX) => frame?,
            _ = gone.wait_for(|gone| gone.contains(&from)) => return Ok(()),
        };
        let event = frame.into_event(from, life)?;
        if std::mem::take(&mut first) {
            local.inbox.tell(Event::HeardAnew(from));
        }
        local.inbox.tell(event);
    }
}

/// Reads a snapshot's message, and the records behind it into a file.
async fn read_snapshot(local: &Local, stream: &mut TlsStream<TcpStream>) -> Result<PeerMessage, StreamError> {
    let Frame::Raft(bytes) = read(stream, SNAPSHOT_BYTES_MAX).await? else {
        return Err(UNEXPECTED);
    };
    let mut message = PeerMessage::decode(&bytes)?;
    if message.records_at().is_none() {
        return Ok(message);
    }
    let dir = local.incoming.clone();
    let mut writer = off_thread(move || SpoolWriter::create(&dir)).await?;
    loop {
        let next = timeout(PART_TIMEOUT, read(stream, FRAME_BYTES_MAX)).await;
        match next.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?? {
            Frame::Records(part) => {
                writer = off_thread(move || writer.add(&part).map(|()| writer)).await?;
            }
            Frame::RecordsEnd => break,
            Frame::Hello(..)
            | Frame::HelloReply(_)
            | Frame::Raft(_)
            | Frame::Forward(_)
            | Frame::Declined(..)
            | Frame::Arrived
            | Frame::Ping(_)
            | Frame::Pong { .. } => return Err(UNEXPECTED),
        }
    }
    let spool = off_thread(move || writer.finish()).await?;
    message.records = Beside(Some(Arc::new(spool)));
    Ok(message)
}

/// Does file work on a thread for which the driver does not wait.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

async fn greet(
    local: &Local,
    socket: TcpStream,
    place: &Entry<Who>,
) -> Result<(TlsStream<TcpStream>, NodeId, Life, Purpose), StreamError> {
    socket.set_nodelay(true)?;
    let mut stream = TlsAcceptor::from(local.tls.server()).accept(socket).await?;
    let Frame::Hello(hello, purpose) = read(&mut stream, HELLO_BYTES_MAX).await? else {
        return Err(UNEXPECTED);
    };
    if !is_who_it_says(&stream, &hello) {
        IMPOSTORS.line((), |left_out| {
            tracing::warn!(
                claimed = %hello.node, left_out,
                "a peer's certificate is not that of the node it says it is"
            );
        });
        return Err(UNEXPECTED);
    }
    // From here on it has a place that strangers cannot take.
    if place.admit(&(hello.cluster, hello.node), STREAMS_OF_A_NODE).is_err() {
        return Err(UNEXPECTED);
    }
    let (answer, answered) = oneshot::channel();
    let (from, life) = (hello.node, hello.life);
    local.inbox.push(Input::Hello { hello: Box::new(hello), answer });
    let Ok(reply) = answered.await else { return Err(UNEXPECTED) };
    let refused = matches!(reply, HelloReply::Refused(_));
    write(&Frame::HelloReply(reply), &mut stream).await?;
    if refused { Err(UNEXPECTED) } else { Ok((stream, from, life, purpose)) }
}

fn is_who_it_says(stream: &TlsStream<TcpStream>, hello: &Hello) -> bool {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    // The certificate is checked against the cluster that the peer names, so that a node of another cluster under the
    // same authority is told that it is one.
    leaf.is_some_and(|leaf| tls::is_node(leaf, &hello.cluster, hello.node))
}
