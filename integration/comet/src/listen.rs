//! The listening side: a port or a socket file, one signer at a time, and its handshake.
//!
//! One task accepts, and only when the endpoint asks for a connection: whoever dials meanwhile waits in the backlog.

use crate::{
    Address, Config, Handshake, Identity,
    secret::{self, FIRST_MESSAGE, FRAME_SEALED, SecretError},
    wire::{ReadError, Sealed, Socket, Wire},
};
use ed25519_dalek::SigningKey;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};

/// How long a peer that failed the handshake is kept from being the next one.
const AFTER_FAILURE: Duration = Duration::from_millis(1);

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound address and the task that accepts on it.
pub struct Listener {
    wanted: Arc<Semaphore>,
    accepted: mpsc::Receiver<Wire>,
    task: JoinHandle<()>,
    /// The key that this start of the node shows on a SecretConnection.
    pub identity: [u8; 32],
}

impl Listener {
    /// Binds; says where. A socket file that is there already is an error, as for the node.
    pub async fn bind(config: &Config) -> io::Result<(Self, Address)> {
        let (bound, address) = match &config.address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = Address::Tcp(listener.local_addr()?);
                (Bound::Tcp(listener), address)
            }
            Address::Unix(path) => (Bound::Unix(UnixListener::bind(path)?), config.address.clone()),
        };
        let seed = match config.identity {
            Identity::Fresh => rand::random(),
            Identity::Fixed(seed) => seed,
        };
        let key = SigningKey::from_bytes(&seed);
        let identity = key.verifying_key().to_bytes();
        let wanted = Arc::new(Semaphore::new(1));
        let (give, accepted) = mpsc::channel(1);
        let accepting = Accepting { bound, key, handshake: config.handshake, patience: config.timing.read };
        let task = tokio::spawn(accepting.run(wanted.clone(), give));
        Ok((Self { wanted, accepted, task, identity }, address))
    }

    /// The next connection, which [`Self::want`] has asked for.
    pub async fn accepted(&mut self, within: Duration) -> Option<Wire> {
        timeout(within, self.accepted.recv()).await.ok().flatten()
    }

    /// Whether a connection waits to be taken.
    pub fn is_waiting(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// One connection is done with: another may be accepted.
    pub fn want(&self) {
        self.wanted.add_permits(1);
    }

    /// Ends, and has freed the port when it returns.
    pub async fn close(mut self) {
        self.task.abort();
        // It was cancelled, which is what was wanted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Accepting {
    bound: Bound,
    key: SigningKey,
    handshake: Handshake,
    patience: Duration,
}

impl Accepting {
    async fn run(self, wanted: Arc<Semaphore>, give: mpsc::Sender<Wire>) {
        loop {
            let Ok(permit) = wanted.acquire().await else { return };
            permit.forget();
            let wire = loop {
                match self.accept().await {
                    Ok(wire) => break wire,
                    Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
                }
            };
            if give.send(wire).await.is_err() {
                return;
            }
        }
    }

    async fn accept(&self) -> Result<Wire, ReadError> {
        match &self.bound {
            Bound::Unix(listener) => Ok(Wire::new(Box::new(listener.accept().await?.0), None)),
            Bound::Tcp(listener) => {
                let socket = listener.accept().await?.0;
                socket.set_nodelay(true)?;
                let shaken = timeout(self.patience, self.shake_hands(Box::new(socket))).await;
                shaken.unwrap_or(Err(ReadError::Closed))
            }
        }
    }

    async fn shake_hands(&self, mut socket: Box<dyn Socket>) -> Result<Wire, ReadError> {
        let ephemeral = rand::random();
        match self.handshake {
            Handshake::Right | Handshake::NotItsIdentity | Handshake::Closes => {
                let public = secret::ephemeral_public(&ephemeral);
                socket.write_all(&secret::first_message(&public)).await?;
            }
            Handshake::LowOrder => socket.write_all(&secret::first_message(&[0; 32])).await?,
            Handshake::Garbage => socket.write_all(&[0xff; 100]).await?,
            Handshake::Silent => {}
        }
        let mut first = [0; FIRST_MESSAGE];
        socket.read_exact(&mut first).await?;
        let peer = secret::read_first_message(&first)?;
        match self.handshake {
            Handshake::Right | Handshake::NotItsIdentity => {}
            Handshake::Closes => return Err(ReadError::Closed),
            // Whoever goes on all the same is waited for until it is too late.
            Handshake::Silent | Handshake::Garbage | Handshake::LowOrder => {
                socket.read_exact(&mut [0]).await?;
                return Err(SecretError::NotIdentity.into());
            }
        }
        let derived = secret::derive(&ephemeral, &peer)?;
        let mut signed = derived.challenge;
        if self.handshake == Handshake::NotItsIdentity {
            signed[0] ^= 1;
        }
        let (mut sealer, mut opener) = (derived.sealer, derived.opener);
        let ours = sealer.seal(&secret::identity_message(&self.key, &signed));
        socket.write_all(&ours).await?;
        let mut frame = [0; FRAME_SEALED];
        socket.read_exact(&mut frame).await?;
        let peer = secret::read_identity_message(&opener.open(&frame)?, &derived.challenge)?;
        Ok(Wire::new(socket, Some(Sealed { sealer, opener, peer })))
    }
}
