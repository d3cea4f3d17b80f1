//! The network between nodes, with faults: proxies on loopback where nothing else is allowed, a packet switch between
//! network namespaces as root. Both use one table of links, by sender and receiver.

pub mod packets;
pub mod proxy;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The state of one direction between two nodes. By default it is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Nothing passes.
    pub cut: bool,
    /// The delay of everything that passes.
    pub delay: Duration,
    /// Up to this much more delay, at random.
    pub jitter: Duration,
    /// The share of packets that is lost. Proxies have no packets to lose.
    pub loss: f64,
}

impl Link {
    /// Nothing passes.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }
}

/// The links that are not healthy.
#[derive(Clone, Debug)]
pub struct Links {
    table: Arc<Mutex<HashMap<(u64, u64), Link>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Default for Links {
    fn default() -> Self {
        Self { table: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }
}

impl Links {
    /// From now on the direction from one node to another is like this.
    pub fn set(&self, from: u64, to: u64, link: Link) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).insert((from, to), link);
        self.changed.send_replace(());
    }

    /// Makes all links healthy.
    pub fn heal(&self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changed.send_replace(());
    }

    /// How a direction is now.
    pub fn get(&self, from: u64, to: u64) -> Link {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&(from, to)).copied().unwrap_or_default()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// The time that one item takes over a link.
fn time_over(link: Link) -> Duration {
    link.delay + link.jitter.mul_f64(rand::random())
}
