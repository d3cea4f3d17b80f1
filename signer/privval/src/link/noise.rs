//! Messages over libp2p's Noise, as CometBFT 0.40 and later listen with `noise://`: both sides know each other's key.

use super::{DialError, Link, tcp};
use crate::{address::HostPort, identity::Identity};
use futures::AsyncReadExt as _;
use libp2p_core::upgrade::OutboundConnectionUpgrade as _;
use libp2p_identity::PeerId;
use tokio_util::compat::{
    FuturesAsyncReadCompatExt as _, FuturesAsyncWriteCompatExt as _, TokioAsyncReadCompatExt as _,
};

/// The name under which libp2p negotiates the protocol. Nodes negotiate nothing, and so does this side.
const PROTOCOL: &str = "/noise";

pub(super) async fn dial(peer: &PeerId, at: &HostPort, identity: &Identity) -> Result<Link, DialError> {
    let stream = tcp::connect(at).await?;
    let handshake = |error: libp2p_noise::Error| DialError::Handshake(error.to_string());
    let noise = libp2p_noise::Config::new(&identity.keypair()).map_err(handshake)?;
    let (found, stream) = noise.upgrade_outbound(stream.compat(), PROTOCOL).await.map_err(handshake)?;
    if found != *peer {
        return Err(DialError::Stranger { found: found.to_string() });
    }
    let (reader, writer) = stream.split();
    Ok(Link::plain(reader.compat(), writer.compat_write()))
}
