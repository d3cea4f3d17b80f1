//! A signer that dials a node: FilePV's answers, or others where a test says so. Its SecretConnection is
//! `cometbft-p2p`'s, so that the node's own is not only tested against itself.
#![allow(dead_code, reason = "each test program uses its part")]

use cometbft_p2p::{AsyncReadMsg, AsyncSecretConnection, AsyncWriteMsg, IdentitySecret};
use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType},
};
use signonce_comet_node::{Address, FilePv, FilePvKey};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tendermint_proto::v0_38::privval::{self, message::Sum};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::sleep,
};

pub const CHAIN_ID: &str = "made-up-1";

/// Bytes that are sent as a message, whether they are one or not.
#[derive(Clone, Debug, Default)]
pub struct Raw(pub Vec<u8>);

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: WireType,
        _: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), DecodeError> {
        unreachable!("it is only sent")
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// What the signer does with one request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// What FilePV answers.
    FilePv,
    /// The same, this much later.
    Late(Duration),
    /// These bytes instead.
    Bytes(Vec<u8>),
    /// It never answers, and the connection stays open.
    Nothing,
    /// It closes and dials again.
    Close,
}

/// A request as the signer read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub connection: u64,
    pub request: Vec<u8>,
}

impl Seen {
    pub fn sum(&self) -> Option<Sum> {
        privval::Message::decode(&self.request[..]).expect("a node's request").sum
    }
}

/// The signer.
pub struct Double {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Link {
    Tcp(Box<AsyncSecretConnection<TcpStream>>),
    Unix(UnixStream),
}

impl Link {
    async fn dial(address: &Address, identity: &[u8; 32]) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                let identity = IdentitySecret::from_bytes(identity);
                let secret = AsyncSecretConnection::new(socket, &identity).await.map_err(io::Error::other)?;
                Ok(Self::Tcp(Box::new(secret)))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Tcp(link) => {
                let message: privval::Message = link.read_msg().await.map_err(io::Error::other)?;
                Ok(message.encode_to_vec())
            }
            Self::Unix(link) => {
                let (mut length, mut shift) = (0, 0);
                loop {
                    let byte = link.read_u8().await?;
                    length |= usize::from(byte & 0x7f) << shift;
                    shift += 7;
                    if byte < 0x80 {
                        break;
                    }
                }
                let mut message = vec![0; length];
                link.read_exact(&mut message).await?;
                Ok(message)
            }
        }
    }

    async fn write(&mut self, message: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Tcp(link) => link.write_msg(Raw(message)).await.map_err(io::Error::other),
            Self::Unix(link) => link.write_all(&Raw(message).encode_length_delimited_to_vec()).await,
        }
    }
}

/// The secret of the tests' validator.
pub fn validator() -> FilePv {
    FilePv::new(FilePvKey::ed25519(&[7; 32]))
}

impl Double {
    /// A signer that answers as FilePV does.
    pub fn right(address: &Address) -> Self {
        Self::dial(address, validator(), |_, _| Reaction::FilePv)
    }

    /// A signer that is told what to do with each request, and what FilePV's answer to it would be.
    pub fn dial(
        address: &Address,
        filepv: FilePv,
        react: impl FnMut(&Seen, &[u8]) -> Reaction + Send + 'static,
    ) -> Self {
        Self::shared(address, &Arc::new(Mutex::new(filepv)), react)
    }

    /// The same with a state that other signers have as well.
    pub fn shared(
        address: &Address,
        filepv: &Arc<Mutex<FilePv>>,
        mut react: impl FnMut(&Seen, &[u8]) -> Reaction + Send + 'static,
    ) -> Self {
        let filepv = filepv.clone();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (address, record) = (address.clone(), seen.clone());
        let task = tokio::spawn(async move {
            for connection in 1.. {
                let serve = serve(&address, connection, &record, &filepv, &mut react);
                // Whatever breaks, it dials again.
                let _ = serve.await;
                sleep(Duration::from_millis(2)).await;
            }
        });
        Self { seen, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics here").clone()
    }
}

async fn serve(
    address: &Address,
    connection: u64,
    record: &Mutex<Vec<Seen>>,
    filepv: &Mutex<FilePv>,
    react: &mut impl FnMut(&Seen, &[u8]) -> Reaction,
) -> io::Result<()> {
    let mut link = Link::dial(address, &[9; 32]).await?;
    loop {
        let seen = Seen { connection, request: link.read().await? };
        record.lock().expect("nobody panics here").push(seen.clone());
        let answer = filepv.lock().expect("nobody panics here").answer(&seen.request);
        let answer = answer.expect("a node's request");
        match react(&seen, &answer) {
            Reaction::FilePv => link.write(answer).await?,
            Reaction::Late(time) => {
                sleep(time).await;
                link.write(answer).await?;
            }
            Reaction::Bytes(bytes) => link.write(bytes).await?,
            Reaction::Nothing => {}
            Reaction::Close => return Ok(()),
        }
    }
}
