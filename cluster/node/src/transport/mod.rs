//! Peer traffic: listens for peers, keeps one outgoing stream per peer, never blocks the driver.
//!
//! The driver hands frames to [`Transport::send`]; a full or broken queue drops them and the driver is told, which
//! raft survives by design. What comes in goes to the driver's inbox. Who a peer is was proved by its certificate
//! before its first frame is looked at.

pub(crate) mod frame;
mod listen;
mod peer;
pub mod tls;

use crate::driver::{Event, Inbox};
use frame::Frame;
use signonce_core::replica::fence::{ClusterId, Hello};
use signonce_core::replica::wire::PeerMessage;
use signonce_protocol::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tls::TlsConfigs;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Frames that may wait for one peer. A heartbeat and an append per tick leave this far from full.
const QUEUE_FRAMES_MAX: usize = 4096;

/// A member and where it listens for peers.
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
    pub hello: Hello,
    pub tls: TlsConfigs,
    pub inbox: Inbox,
    /// Set once the log says that a peer is not understood.
    pub told_unreadable: AtomicBool,
}

/// The outgoing side.
pub(crate) struct Transport {
    local: Arc<Local>,
    peers: BTreeMap<NodeId, Outgoing>,
    redial: watch::Sender<u64>,
    runtime: tokio::runtime::Handle,
}

struct Outgoing {
    address: String,
    queue: mpsc::Sender<Frame>,
}

impl Transport {
    /// Starts listening on `listener` and dialling `peers`, on `runtime`, to which the listener belongs. Peers are
    /// served until the runtime or the returned tasks are dropped.
    pub(crate) fn start(
        local: Local,
        runtime: &tokio::runtime::Handle,
        listener: TcpListener,
        peers: Vec<Peer>,
    ) -> (Self, JoinSet<()>) {
        let local = Arc::new(local);
        let (redial, redialled) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(listen::accept_peers(Arc::clone(&local), listener), runtime);
        let peers = peers
            .into_iter()
            .filter(|p| p.id != local.node)
            .map(|peer| {
                let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
                let local = Arc::clone(&local);
                let connected = peer::keep_connected(local, peer.clone(), frames, redialled.clone());
                tasks.spawn_on(connected, runtime);
                (peer.id, Outgoing { address: peer.address, queue })
            })
            .collect();
        (Self { local, peers, redial, runtime: runtime.clone() }, tasks)
    }

    /// Connects anew to every peer, to hear again what it remembers of this node.
    pub(crate) fn redial(&self) {
        self.redial.send_modify(|n| *n += 1);
    }

    /// Queues `frame` for `to`. Returns whether it was taken.
    pub(crate) fn send(&self, to: NodeId, frame: Frame) -> bool {
        self.peers.get(&to).is_some_and(|peer| peer.queue.try_send(frame).is_ok())
    }

    /// Queues a raft message; snapshots go on a stream of their own, so that heartbeats never wait behind them.
    pub(crate) fn send_raft(&self, message: &PeerMessage) -> bool {
        let to = message.to();
        let frame = Frame::Raft(message.encode());
        if !message.is_snapshot() {
            return self.send(to, frame);
        }
        let Some(outgoing) = self.peers.get(&to) else { return false };
        let (local, peer) = (Arc::clone(&self.local), Peer { id: to, address: outgoing.address.clone() });
        self.runtime.spawn(async move {
            let arrived = match peer::send_snapshot(&local, &peer, &frame).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(peer = %peer.id, %error, "a snapshot did not arrive");
                    false
                }
            };
            local.inbox.push(Event::SnapshotSent { peer: peer.id, arrived });
        });
        true
    }
}
