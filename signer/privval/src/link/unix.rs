//! Plain messages over a unix socket.

use super::{DialError, Link};
use std::{io, path::Path};
use tokio::net::UnixStream;

/// Every connection counts as another run of the node: the process at the other end may be a relay that outlives it.
pub(super) async fn dial(path: &Path) -> Result<Link, DialError> {
    let stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DialError::NoSocket(path.to_owned()),
        io::ErrorKind::ConnectionRefused => DialError::LeftBehind(path.to_owned()),
        io::ErrorKind::PermissionDenied => DialError::Forbidden(path.to_owned()),
        _ => error.into(),
    })?;
    let (reader, writer) = stream.into_split();
    Ok(Link::plain(reader, writer))
}
