//! Who asks, however the request came. Rights, limits, audit and metrics go by this.
//!
//! A **front** speaks a validator's own protocol. It makes a [`Caller`] of what it knows of the other side and calls
//! the signer in its name; nothing behind the front knows which front it was.

use signonce_core::{Client, ClientId, ClientState, State};
use signonce_shared::tls::PeerIdentity;
use std::{fmt, sync::Arc};

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A peer with a certificate of our authority.
    Certificate(PeerIdentity),
    /// A process on this machine, over the unix socket.
    Local {
        /// The id of its user.
        uid: u32,
    },
    /// A node that this signer has dialled: the registry says which client it is.
    Dialled {
        /// The client.
        client: ClientId,
        /// The address that was dialled.
        address: Arc<str>,
    },
}

impl Caller {
    /// The certificate that the caller showed, if any.
    pub const fn certificate(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Certificate(peer) => Some(peer),
            Self::Local { .. } | Self::Dialled { .. } => None,
        }
    }

    /// The active client that the caller is; `None` if it is not one.
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

/// The form for log lines.
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
