//! Connections to nodes. [`dial`] makes a [`Link`], which carries whole messages and nothing else.

mod noise;
mod plain;
mod tcp;
mod unix;

use crate::{address::NodeAddress, identity::Identity, message::Envelope};
use cometbft_p2p::{AsyncReadMsg as _, AsyncSecretReader, AsyncSecretWriter, AsyncWriteMsg as _};
use std::{io, path::PathBuf, time::Duration};
use tendermint_proto::v0_38::privval::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// How long dialling may take, with the handshake.
const DIAL: Duration = Duration::from_secs(3);
/// How long sending an answer may take: a node that reads nothing for so long has given up on it.
const SEND: Duration = Duration::from_secs(5);

/// An open connection to a node.
pub(crate) struct Link {
    pub reader: Reader,
    pub writer: Writer,
    /// What tells one run of the node's process from the next; `None` where nothing does.
    pub life: Option<Life>,
}

/// The key that a node makes at its start and shows in every handshake until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life(Vec<u8>);

pub(crate) enum Reader {
    Plain(plain::Reader<Box<dyn AsyncRead + Send + Sync + Unpin>>),
    Secret(AsyncSecretReader<TcpStream>),
}

pub(crate) enum Writer {
    Plain(Box<dyn AsyncWrite + Send + Sync + Unpin>),
    Secret(AsyncSecretWriter<TcpStream>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("there is no socket {0}: the node is not running, or its priv_validator_laddr names another one")]
    NoSocket(PathBuf),
    #[error(
        "the socket file {0} is there, but nobody listens on it: a node that was killed left it behind, and some versions do \
         not start while it is there; if no node is running, remove it"
    )]
    LeftBehind(PathBuf),
    #[error("this process may not use the socket {0}: give it the node's group, or the socket another mode")]
    Forbidden(PathBuf),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the handshake failed: {0}")]
    Handshake(String),
    #[error(
        "the other side is {found}, not the node that the address names: another node listens there, or the node has a new \
         key"
    )]
    Stranger { found: String },
    #[error("no connection within {DIAL:?}: the node serves another signer, or does not answer")]
    Late,
}

/// Why a connection gives no more messages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the node closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error("a message of {0} bytes, the most is {max}", max = crate::message::MAX_MESSAGE_BYTES)]
    TooLong(u64),
    #[error("a message that is not protobuf: {0}")]
    NotProtobuf(String),
    #[error("a frame that cannot be opened: {0}")]
    Frame(String),
}

impl ReadError {
    /// Whether the node, or whoever is there, sent something that a node never sends.
    pub const fn is_nonsense(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) => false,
            Self::TooLong(_) | Self::NotProtobuf(_) | Self::Frame(_) => true,
        }
    }
}

/// Dials a node.
pub(crate) async fn dial(address: &NodeAddress, identity: &Identity) -> Result<Link, DialError> {
    let dialled = async {
        match address {
            NodeAddress::Unix(path) => unix::dial(path).await,
            NodeAddress::Tcp(at) => tcp::dial(at, identity).await,
            NodeAddress::Noise { peer, at } => noise::dial(peer, at, identity).await,
        }
    };
    timeout(DIAL, dialled).await.unwrap_or(Err(DialError::Late))
}

impl Link {
    /// A link without encryption of its own.
    fn plain<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Send + Sync + Unpin + 'static,
        W: AsyncWrite + Send + Sync + Unpin + 'static,
    {
        let reader: Box<dyn AsyncRead + Send + Sync + Unpin> = Box::new(reader);
        let (reader, writer) = (Reader::Plain(plain::Reader::new(reader)), Writer::Plain(Box::new(writer)));
        Self { reader, writer, life: None }
    }
}

impl Reader {
    /// The next message. Not cancel-safe.
    pub async fn next(&mut self) -> Result<Envelope, ReadError> {
        match self {
            Self::Plain(plain) => plain.next().await,
            Self::Secret(secret) => secret.read_msg().await.map_err(|error| match error {
                cometbft_p2p::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    ReadError::Closed
                }
                cometbft_p2p::Error::Io(error) => ReadError::Io(error),
                cometbft_p2p::Error::MessageSize { size } => {
                    ReadError::TooLong(size.try_into().unwrap_or(u64::MAX))
                }
                other => ReadError::Frame(other.to_string()),
            }),
        }
    }
}

impl Writer {
    /// Sends a message.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        let sending = async {
            match self {
                Self::Plain(writer) => plain::write(writer, &message).await,
                Self::Secret(secret) => secret.write_msg(message).await.map_err(io::Error::other),
            }
        };
        timeout(SEND, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
