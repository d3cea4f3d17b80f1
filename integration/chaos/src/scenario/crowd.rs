//! Crowded ports: connections that say nothing, and a client that asks without end.

use super::World;
use crate::storm::STRANGER;
use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signonce_protocol::client::{SignerClient, Timeouts};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections that say nothing: to the port for clients, for peers, for scrapes.
const SILENT: [usize; 3] = [2_000, 400, 100];
/// The connections come from this many addresses, and the clients from another: whoever shares an address with
/// strangers shares their places.
const ADDRESSES: usize = 8;
/// How soon they come back after being hung up on.
const AGAIN: Duration = Duration::from_millis(100);
/// Connections of the client that asks without end, and its questions on each at a time.
const GREEDY: (usize, usize) = (8, 32);
/// How much more memory a node may use than before: a request and an answer for each open question, and what an
/// allocator keeps of it.
const MEMORY_MORE: u64 = 64 << 20;
/// How long a new client may take to be served by a crowded node: far more than it needs anyway.
const NEW_CLIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(5),
    deadline: Duration::from_secs(5),
};

/// Connections that say nothing come to every port of a node, again whenever they are hung up on. New clients are
/// served meanwhile, and a node that starts again gets in.
pub(super) async fn strangers(world: &mut World) -> anyhow::Result<()> {
    more_files();
    let crowded = world.victim().await?;
    let ids = world.cluster.ids();
    let other = ids.into_iter().find(|id| *id != crowded).context("a cluster has more nodes than one")?;
    world.fault(format!("node {crowded} crowded by {SILENT:?} connections that say nothing"));
    let node = world.cluster.node(crowded);
    let mut silent = JoinSet::new();
    for (address, count) in node.ports().into_iter().zip(SILENT) {
        (0..count).for_each(|n| drop(silent.spawn(say_nothing(stranger(n), address))));
    }
    world.pass_ms(1_000, 2_000).await;
    for _ in 0..5 {
        let begun = Instant::now();
        let client = world.cluster.client(1, &[crowded], NEW_CLIENT)?;
        client.status().await.context("a new client of a crowded node")?;
        world.say(format!("a new client was served within {} ms", begun.elapsed().as_millis()));
    }
    world.cluster.kill(other).await?;
    world.pass_ms(0, 500).await;
    world.cluster.start(other)?;
    let begun = Instant::now();
    world.cluster.wait_ready(&[other], super::world::READY_WITHIN).await.context("beside a crowded node")?;
    world.say(format!("node {other} got in again within {} ms", begun.elapsed().as_millis()));
    world.serves("beside strangers").await?;
    silent.shutdown().await;
    world.settle().await
}

/// A client follows its keys and asks for lists of them on many connections, as fast as it may and faster. The others
/// are served meanwhile, and the node's memory stays what it was.
pub(super) async fn greedy(world: &mut World) -> anyhow::Result<()> {
    let node = world.victim().await?;
    world.cluster.forget_peak(node)?;
    let before = world.cluster.peak_bytes(node).unwrap_or_default();
    world.fault(format!("a client asks node {node} for lists without end"));
    let (connections, at_a_time) = GREEDY;
    let mut asking = JoinSet::new();
    for _ in 0..connections {
        let client = world.cluster.guest(&[node], STRANGER)?;
        let follower = client.clone();
        asking.spawn(async move {
            loop {
                if let Ok(mut keys) = follower.subscribe_keys().await {
                    while keys.next().await.is_ok() {}
                }
                sleep(AGAIN).await;
            }
        });
        (0..at_a_time).for_each(|_| drop(asking.spawn(ask_without_end(client.clone()))));
    }
    let mut most = Duration::ZERO;
    for _ in 0..20 {
        world.pass_ms(150, 250).await;
        let begun = Instant::now();
        let other = world.cluster.client(1, &[node], NEW_CLIENT)?;
        other.status().await.context("another client of that node")?;
        most = most.max(begun.elapsed());
    }
    world.serves("beside a greedy client").await?;
    let most_memory = world.cluster.peak_bytes(node).unwrap_or_default();
    world.say(format!(
        "others were served within {} ms, the node's memory went from {} to {} MiB at most",
        most.as_millis(),
        before >> 20,
        most_memory >> 20
    ));
    if most_memory > before + MEMORY_MORE {
        world.violation(format!(
            "a greedy client took {} MiB of node {node}'s memory",
            (most_memory - before) >> 20
        ));
    }
    asking.shutdown().await;
    world.settle().await
}

/// An address of loopback that nobody else here has.
fn stranger(n: usize) -> SocketAddr {
    let last = u8::try_from(n % ADDRESSES).unwrap_or_default();
    SocketAddr::from(([127, 0, 1, last], 0))
}

async fn say_nothing(from: SocketAddr, to: SocketAddr) {
    loop {
        if let Ok(Ok(mut stream)) = timeout(Duration::from_secs(5), connect(from, to)).await {
            let _ = stream.read(&mut [0]).await;
        }
        sleep(AGAIN).await;
    }
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from)?;
    socket.connect(to).await
}

async fn ask_without_end(client: SignerClient) {
    loop {
        let _ = client.keys().await;
        tokio::task::yield_now().await;
    }
}

/// Every connection of ours is a file.
fn more_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(16_384, |maximum| maximum.min(16_384));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
}
