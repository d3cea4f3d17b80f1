//! Peer traffic: listens for peers, keeps one outgoing stream per peer, never blocks the driver.
//!
//! The driver hands frames to [`Transport::send`]; a full or broken queue drops them and the driver is told, which raft
//! tolerates. Incoming frames go to the driver's inbox. A peer's certificate has proved its identity before its first
//! frame is read.

mod listen;
mod peer;
mod stream;
pub mod tls;

pub use listen::PEER_PLACES;

use crate::inbox::Inbox;
use crate::log_throttle::LogThrottle;
use crate::places::PlaceCounts;
use crate::spool::Parts;
use signonce_core::replica::hello::{ClusterId, Hello};
use signonce_core::replica::wire::PeerMessage;
use signonce_driver::Event;
use signonce_driver::frame::Frame;
use signonce_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use tls::LivePeerTls;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// The most frames that may wait for one peer. A heartbeat and an append per tick leave this far from full.
const QUEUE_FRAMES_MAX: usize = 4096;

/// Throttles lines about snapshots that did not arrive, which are sent again and again.
static NOT_ARRIVED: LogThrottle<NodeId> = LogThrottle::new();

/// A member and its address for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
}

/// What every connection of this node needs.
pub(crate) struct Local {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The first message of this node on every stream.
    pub hello: RwLock<Hello>,
    pub tls: LivePeerTls,
    pub inbox: Inbox,
    /// Nodes that have left permanently.
    pub gone: watch::Sender<BTreeSet<NodeId>>,
    /// The directory in which snapshots are spooled.
    pub incoming: PathBuf,
    /// Set once it was logged that a peer cannot be understood.
    pub told_unreadable: AtomicBool,
    /// The listener's counts.
    pub places: PlaceCounts,
}

/// The outgoing side.
pub(crate) struct Transport {
    local: Arc<Local>,
    /// Addresses that this node's operator configured.
    configured: BTreeMap<NodeId, String>,
    peers: BTreeMap<NodeId, Outgoing>,
    redial: watch::Sender<u64>,
    runtime: tokio::runtime::Handle,
}

struct Outgoing {
    address: String,
    queue: mpsc::Sender<Frame>,
    task: AbortHandle,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Transport {
    /// Starts listening on `listener` and dialling `peers`, on `runtime`, to which the listener belongs. Peers are
    /// served until the runtime or the returned tasks are dropped. An address in `configured` takes precedence over the
    /// one in the log; a node that knows no members dials the configured ones.
    pub(crate) fn start(
        local: Local,
        runtime: &tokio::runtime::Handle,
        listener: TcpListener,
        configured: Vec<Peer>,
        peers: &BTreeMap<NodeId, Option<String>>,
    ) -> (Self, JoinSet<()>) {
        let local = Arc::new(local);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(listen::accept_peers(Arc::clone(&local), listener), runtime);
        let configured = configured.into_iter().map(|peer| (peer.id, peer.address)).collect();
        let (redial, _) = watch::channel(0);
        let runtime = runtime.clone();
        let mut transport = Self { local, configured, peers: BTreeMap::new(), redial, runtime };
        transport.follow(peers);
        (transport, tasks)
    }

    /// Dials those of `peers` that are new or have moved, and drops the streams to nodes that are not among them.
    pub(crate) fn follow(&mut self, peers: &BTreeMap<NodeId, Option<String>>) {
        let mut wanted: BTreeMap<NodeId, String> = BTreeMap::new();
        for (node, address) in peers {
            wanted.extend(self.configured.get(node).or(address.as_ref()).map(|a| (*node, a.clone())));
        }
        if peers.is_empty() {
            wanted.clone_from(&self.configured);
        }
        wanted.remove(&self.local.node);
        self.peers.retain(|node, outgoing| wanted.get(node) == Some(&outgoing.address));
        for (id, address) in wanted {
            self.peers.entry(id).or_insert_with(|| {
                let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
                let peer = Peer { id, address: address.clone() };
                let redialled = self.redial.subscribe();
                let connected = peer::keep_connected(Arc::clone(&self.local), peer, frames, redialled);
                Outgoing { address, queue, task: self.runtime.spawn(connected).abort_handle() }
            });
        }
    }

    /// Ends the streams of nodes that have left; when they come back they are told why.
    pub(crate) fn shut_out(&self, gone: &BTreeSet<NodeId>) {
        self.local.gone.send_if_modified(|known| {
            let news = known != gone;
            known.clone_from(gone);
            news
        });
    }

    /// Uses `hello` on streams from now on.
    pub(crate) fn introduce(&self, hello: Hello) {
        *self.local.hello.write().expect("nobody panics with it") = hello;
    }

    /// Connects to every peer again, to hear what it remembers of this node.
    pub(crate) fn redial(&self) {
        self.redial.send_modify(|n| *n += 1);
    }

    /// Queues `frame` for `to`. Returns whether it was taken.
    pub(crate) fn send(&self, to: NodeId, frame: Frame) -> bool {
        self.peers.get(&to).is_some_and(|peer| peer.queue.try_send(frame).is_ok())
    }

    /// Queues a raft message. Snapshots go on a stream of their own, with the records that belong to them, so that
    /// heartbeats never wait behind them.
    pub(crate) fn send_raft(&self, message: &PeerMessage, records: Option<Parts>) -> bool {
        let to = message.to();
        let frame = Frame::Raft(message.encode());
        if !message.is_snapshot() {
            return self.send(to, frame);
        }
        let Some(outgoing) = self.peers.get(&to) else { return false };
        let (local, peer) = (Arc::clone(&self.local), Peer { id: to, address: outgoing.address.clone() });
        self.runtime.spawn(async move {
            let arrived = match peer::send_snapshot(&local, &peer, &frame, records).await {
                Ok(()) => true,
                Err(error) => {
                    NOT_ARRIVED.line(peer.id, |left_out| {
                        tracing::warn!(peer = %peer.id, %error, left_out, "a snapshot did not arrive");
                    });
                    false
                }
            };
            local.inbox.tell(Event::SnapshotSent { peer: peer.id, arrived });
        });
        true
    }
}
