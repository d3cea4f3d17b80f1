//! File descriptors: how many this process may have open, and how the listeners share them.
//!
//! Every connection takes one, and so do the store, the streams to peers and every file that is read again. So the
//! places of all listeners together are fewer than the limit, by what the rest needs: connections never keep the node
//! from its disk, its peers or a new certificate. The limit is raised first, as far as the system allows.

use crate::probes::PROBE_PLACES;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signonce_cluster::{PEER_PLACES, places::Rules};
use std::time::Duration;

/// Descriptors for the store (256 files and its logs), the streams to peers, certificates, backups, webhooks, and the
/// runtime.
const BESIDES: usize = 400;
/// How long a client or an admin may take until the head of its first request has arrived.
const PATIENCE: Duration = Duration::from_secs(3);
/// The fewest places for clients: with fewer the node does not start.
const CLIENTS_LEAST: usize = 32;

const ADMIN: Rules = Rules { strangers: 32, per_address: 16, patience: PATIENCE, known: 64 };
/// Callers here are this node's own user or root: an operator's script, with a connection for each of its calls.
const ADMIN_SOCKET: Rules = Rules { strangers: 16, per_address: 16, patience: PATIENCE, known: 96 };
/// Strangers on the client port, where there is room.
const STRANGERS: usize = 256;

/// Descriptors for everything but the clients.
const FIXED: usize = BESIDES
    + PEER_PLACES.connections_max()
    + PROBE_PLACES.connections_max()
    + ADMIN.connections_max()
    + ADMIN_SOCKET.connections_max();

/// The places of the ports that speak JSON-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPlaces {
    /// The client port.
    pub client: Rules,
    /// The admin port.
    pub admin: Rules,
    /// The admin socket.
    pub admin_socket: Rules,
}

/// Too few file descriptors to run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} files open, and needs {least} at least: raise it (LimitNOFILE= in a unit, ulimit -n \
     in a shell)"
)]
pub struct TooFew {
    limit: u64,
    least: usize,
}

/// How many open files a node with this many client connections may have.
pub const fn needed(connections_max: u32) -> usize {
    FIXED + STRANGERS + connections_max as usize
}

/// Raises the limit to what `connections_max` needs, as far as the system allows. Returns the limit then; `None` if
/// there is none.
pub fn raise(connections_max: u32) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(needed(connections_max)).unwrap_or(u64::MAX);
    let target = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < target) {
        // If it is refused, there are fewer places.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// Divides `limit` among the listeners.
///
/// # Errors
/// If there is not enough for a handful of clients.
pub fn share_out(limit: Option<u64>, connections_max: u32) -> Result<PortPlaces, TooFew> {
    let wanted = connections_max as usize;
    let all = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let least = FIXED + CLIENTS_LEAST;
    if all < least {
        return Err(TooFew { limit: limit.unwrap_or(u64::MAX), least });
    }
    let left = all - FIXED;
    let strangers = STRANGERS.min(left / 4);
    let known = wanted.min(left - strangers);
    let client = Rules { strangers, per_address: (strangers / 4).max(1), patience: PATIENCE, known };
    Ok(PortPlaces { client, admin: ADMIN, admin_socket: ADMIN_SOCKET })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_limit_is_the_listeners_leave_the_store_and_the_peers_their_files() {
        for limit in [816, 864, 1_024, 2_000, 4_096, 1 << 20] {
            for connections_max in [1, 64, 1_024, 100_000] {
                let PortPlaces { client, admin, admin_socket } =
                    share_out(Some(limit), connections_max).unwrap();
                let listeners = [client, admin, admin_socket, PEER_PLACES, PROBE_PLACES];
                let taken: usize = listeners.iter().map(Rules::connections_max).sum();
                assert!(taken + BESIDES <= limit as usize, "{limit}, {connections_max}: {taken}");
                assert!(client.known >= 1 && client.known <= connections_max as usize);
                assert!(client.strangers >= 8 && client.per_address >= 2, "{client:?}");
            }
        }
        assert_eq!(share_out(None, 5_000).unwrap().client.known, 5_000);
    }

    #[test]
    fn as_many_clients_as_configured_where_there_is_room_and_none_where_there_is_not() {
        let limit = u64::try_from(needed(1_024)).unwrap();
        let doors = share_out(Some(limit), 1_024).unwrap();
        assert_eq!((doors.client.known, doors.client.strangers), (1_024, STRANGERS));
        let error = share_out(Some(256), 1_024).unwrap_err();
        assert!(error.to_string().contains("LimitNOFILE"), "{error}");
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = raise(64);
        let wanted = u64::try_from(needed(64)).unwrap();
        let possible = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        assert!(raised.is_none_or(|raised| raised >= possible && current.is_none_or(|was| raised >= was)));
    }
}
