//! A TCP proxy per ordered pair of nodes: node A reaches node B through one of its own, so each direction can be
//! stopped or slowed down. Bytes that are stopped are not lost, as TCP would send them again: they arrive after
//! healing, or never if an end gives up. Works everywhere and needs nothing.

use super::{Links, time_over};
use std::{future::pending, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// The most chunks under way in one direction of a connection; then the sender has to wait, as before a full window.
const IN_FLIGHT: usize = 64;

/// The proxy from one node to another.
#[derive(Debug)]
pub struct Proxy {
    /// The address that the node connects to.
    pub address: SocketAddr,
    /// The node that it reaches.
    pub to: u64,
    target: watch::Sender<SocketAddr>,
    accepting: AbortHandle,
}

impl Proxy {
    /// The way of node `from` to node `to`, which listens at `target`.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(from: u64, to: u64, target: SocketAddr, links: &Links) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let links = Arc::new(links.clone());
        let target = watch::Sender::new(target);
        let towards = target.subscribe();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, (from, to), towards.clone(), Arc::clone(&links)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, to, target, accepting: accepting.abort_handle() })
    }

    /// From now on it leads to another target, as when an address moves; open connections break.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    near: TcpStream,
    (from, to): (u64, u64),
    mut towards: watch::Receiver<SocketAddr>,
    links: Arc<Links>,
) {
    let target = *towards.borrow_and_update();
    // An unreachable node is an answer, too: the connection is closed.
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, from, to, &links) => {}
        () = pump(far_read, near_write, to, from, &links) => {}
        _ = towards.changed() => {}
    }
}

/// Carries one direction until either end is gone.
async fn pump(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    from: u64,
    to: u64,
    links: &Links,
) {
    let (send, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let reading = async move {
        let mut due = Instant::now();
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = read.read(&mut chunk).await {
            // A stream stays in order, however long its parts take.
            due = due.max(Instant::now() + time_over(links.get(from, to)));
            if send.send((due, chunk[..length].to_vec())).await.is_err() {
                break;
            }
        }
        // The end of a stream does not pass a cut either; then what is on its way still arrives.
        passes(links, from, to).await;
        drop(send);
        pending::<()>().await;
    };
    let writing = async {
        while let Some((due, bytes)) = arrive.recv().await {
            sleep_until(due).await;
            passes(links, from, to).await;
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// Waits while the direction is cut.
async fn passes(links: &Links, from: u64, to: u64) {
    let mut changes = links.changes();
    while links.get(from, to).cut {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Link;
    use std::time::Duration;

    #[tokio::test]
    async fn a_cut_stops_one_direction_and_what_it_held_back_arrives_after_healing() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let links = Links::default();
        let proxy = Proxy::start(1, 2, server.local_addr().unwrap(), &links).await.unwrap();
        let mut near = TcpStream::connect(proxy.address).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        links.set(1, 2, Link::cut());
        near.write_all(b"there").await.unwrap();
        far.write_all(b"back").await.unwrap();
        let mut bytes = [0; 5];
        near.read_exact(&mut bytes[..4]).await.unwrap();
        assert_eq!(&bytes[..4], b"back");
        let nothing = tokio::time::timeout(Duration::from_millis(50), far.read_exact(&mut bytes)).await;
        assert!(nothing.is_err());
        links.heal();
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"there");
    }
}
