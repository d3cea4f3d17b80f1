//! Free ports on loopback, below the ephemeral ones, which outgoing connections would take between our looking and
//! a process's listening.

use anyhow::Context as _;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Given out before: free still, for a moment.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on and that is given out once.
///
/// # Errors
/// If there is none, after many tries.
pub fn free() -> anyhow::Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let tries = std::iter::repeat_with(|| rand::random_range(PORTS)).take(1_000);
    let port = tries.filter(|port| !taken.contains(port)).find(|port| is_free(*port));
    let port = port.context("there is no free port on loopback")?;
    taken.insert(port);
    Ok(port)
}

/// [`free`], as an address.
///
/// # Errors
/// As there.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free().unwrap()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    }
}
