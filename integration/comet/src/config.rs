//! What a node listens on, how long it waits, and who it says it is. Plain values, set by a test.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// Where a node listens for its signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port, with SecretConnection.
    Tcp(SocketAddr),
    /// A socket file, without encryption. A killed node leaves it behind and cannot start while it is there.
    Unix(PathBuf),
}

impl Address {
    /// Any free port of this machine.
    pub fn any_port() -> Self {
        Self::Tcp(([127, 0, 0, 1], 0).into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// How long a node waits, and how often it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One try waits so long for somebody to dial.
    pub accept: Duration,
    /// An answer later than this is too late.
    pub read: Duration,
    /// Between two tries.
    pub pause: Duration,
    /// Tries of one request.
    pub tries: u32,
    /// A ping is sent after so much silence.
    pub ping: Duration,
}

impl Timing {
    /// As nodes 0.34 to 0.40 do by default.
    pub const MEASURED: Self = Self {
        accept: Duration::from_secs(3),
        read: Duration::from_secs(5),
        pause: Duration::from_millis(100),
        tries: 50,
        ping: Duration::from_millis(3_333),
    };

    /// The same, so many times as fast.
    pub fn faster(self, times: u32) -> Self {
        let Self { accept, read, pause, tries, ping } = self;
        Self { accept: accept / times, read: read / times, pause: pause / times, tries, ping: ping / times }
    }
}

/// The node's own key on a SecretConnection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Another one at every start, as nodes 0.34 to 0.40 do: nobody can pin it.
    Fresh,
    /// Always the key of this seed.
    Fixed([u8; 32]),
}

/// How the node behaves in the handshake of a SecretConnection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handshake {
    /// As it should.
    #[default]
    Right,
    /// It accepts and says nothing.
    Silent,
    /// It sends bytes that are not a handshake.
    Garbage,
    /// Its ephemeral key is a point of low order.
    LowOrder,
    /// It has not signed the challenge with the identity that it names.
    NotItsIdentity,
    /// It closes when it has the signer's ephemeral key.
    Closes,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The chain's id, in every request.
    pub chain_id: String,
    /// Where it listens.
    pub address: Address,
    /// How long it waits.
    pub timing: Timing,
    /// Whether vote extensions are on (for every height).
    pub extensions: bool,
    /// The longest answer that it reads: 10 KiB, and more from 0.40 on.
    pub longest_answer: usize,
    /// Its index among the validators; not signed.
    pub validator_index: i32,
    /// Its key on a SecretConnection.
    pub identity: Identity,
    /// How it shakes hands.
    pub handshake: Handshake,
    /// Whether it sends pings.
    pub pings: bool,
}

impl Config {
    /// A node 0.38 without extensions, as fast as a real one.
    pub fn new(chain_id: &str, address: Address) -> Self {
        Self {
            chain_id: chain_id.to_owned(),
            address,
            timing: Timing::MEASURED,
            extensions: false,
            longest_answer: 10 * 1024,
            validator_index: 0,
            identity: Identity::Fresh,
            handshake: Handshake::Right,
            pings: true,
        }
    }

    /// The same with other waiting times.
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// The same with extensions on.
    pub fn with_extensions(self) -> Self {
        Self { extensions: true, ..self }
    }
}
