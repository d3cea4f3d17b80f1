//! The sockets of a node, bound before anything else: a taken port must not cost anything.

use crate::RunError;
use signonce_shared::config::Config;
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, UnixListener};

/// The sockets, bound.
pub(crate) struct Listeners {
    pub client: TcpListener,
    pub admin: TcpListener,
    pub metrics: TcpListener,
    pub admin_socket: UnixListener,
    /// The user that owns the socket: this process'.
    pub owner: u32,
}

impl Listeners {
    /// Binds them all.
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        let listen = &config.listen;
        let socket = config.admin_socket();
        let (admin_socket, owner) = bind_socket(&socket).map_err(|source| RunError::Listen {
            what: "the admin socket",
            place: socket.display().to_string(),
            source,
        })?;
        Ok(Self {
            client: bind("client port", listen.client).await?,
            admin: bind("admin port", listen.admin).await?,
            metrics: bind("metrics port", listen.metrics).await?,
            admin_socket,
            owner,
        })
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let failed = |source| RunError::Listen { what, place: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Binds the socket so that nobody else can ever connect: it gets its name only once its permissions are set. Replaces
/// a socket that a killed process left behind; one that is still served is an error.
fn bind_socket(path: &Path) -> io::Result<(UnixListener, u32)> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    let owner = fs::metadata(&fresh)?.uid();
    fs::rename(&fresh, path)?;
    Ok((listener, owner))
}
