//! Who asks, however the request came: what rights, limits, audit and metrics go by.
//!
//! A **front** is what speaks a validator's own protocol. It makes a [`Caller`] of what it knows of the other side and
//! asks [`Signer`](signonce_serve::sign::Signer) in its name; nothing behind the front knows which front it was.

use signonce_core::{Client, ClientId, ClientState, State};
use signonce_shared::tls::PeerIdentity;
use std::{fmt, sync::Arc};

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with a certificate of our authority.
    Certificate(PeerIdentity),
    /// A process on this machine, on the unix socket.
    Local {
        /// Its user.
        uid: u32,
    },
    /// A node that this signer has dialled: the registry says which client it is.
    Dialled {
        /// The client.
        client: ClientId,
        /// Where it was dialled.
        address: Arc<str>,
    },
}

impl Caller {
    /// The certificate that was shown, if any was.
    pub const fn certificate(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Certificate(peer) => Some(peer),
            Self::Local { .. } | Self::Dialled { .. } => None,
        }
    }

    /// The active client that asks; `None` for whoever is none.
    pub fn client<'a>(&self, state: &'a State) -> Option<&'a Client> {
        match self {
            Self::Certificate(peer) => state.client_by_spki(&peer.spki),
            Self::Local { .. } => None,
            Self::Dialled { client, address: _ } => {
                state.client(*client).filter(|client| client.state == ClientState::Active)
            }
        }
    }
}

/// For log lines.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(PeerIdentity { client: Some(name), .. }) => f.write_str(name),
            Self::Certificate(PeerIdentity { spki, .. }) => write!(f, "certificate {spki}"),
            Self::Local { uid } => write!(f, "local user {uid}"),
            Self::Dialled { client, address } => write!(f, "{client} at {address}"),
        }
    }
}
