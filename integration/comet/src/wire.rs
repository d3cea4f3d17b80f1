//! One connection to a signer: bytes, sealed or not, and the messages in them, read as Go's `protoio` reads them.
//!
//! What a failed read has left stays in front of the next one, as in the node: after an answer that is too long the
//! connection is out of step.

use crate::secret::{FRAME_SEALED, Opener, Sealer, SecretError};
use std::{collections::VecDeque, io};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A socket of any kind.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// Why there is no message.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The signer has closed.
    #[error("the signer has closed the connection")]
    Closed,
    /// The connection is broken.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The message is longer than the node reads.
    #[error("a message of {length} bytes exceeds {most}")]
    TooLong {
        /// What it says.
        length: u64,
        /// What is read.
        most: usize,
    },
    /// The length in front is not a varint.
    #[error("the length in front is no varint")]
    Length,
    /// A frame cannot be opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

/// The keys of a connection and who is at its other end.
pub struct Sealed {
    /// Seals what is sent.
    pub sealer: Sealer,
    /// Opens what is received.
    pub opener: Opener,
    /// The signer's identity.
    pub peer: [u8; 32],
}

/// A connection.
pub struct Wire {
    socket: Box<dyn Socket>,
    sealed: Option<Sealed>,
    unread: VecDeque<u8>,
}

impl Wire {
    /// Over a socket, with keys if it is a SecretConnection.
    pub fn new(socket: Box<dyn Socket>, sealed: Option<Sealed>) -> Self {
        Self { socket, sealed, unread: VecDeque::new() }
    }

    /// The signer's identity, on a SecretConnection.
    pub fn peer(&self) -> Option<[u8; 32]> {
        self.sealed.as_ref().map(|sealed| sealed.peer)
    }

    /// Sends bytes as data.
    pub async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let sealed = self.sealed.as_mut().map(|sealed| sealed.sealer.seal(data));
        self.socket.write_all(sealed.as_deref().unwrap_or(data)).await?;
        self.socket.flush().await
    }

    /// Sends a message with its length in front.
    pub async fn send_message(&mut self, message: &[u8]) -> io::Result<()> {
        self.send(&delimited(message)).await
    }

    /// Sends a frame that says it holds this many bytes. On a socket file there are no frames: only the data.
    pub async fn send_frame(&mut self, says: u32, data: &[u8]) -> io::Result<()> {
        let sealed = self.sealed.as_mut().map(|sealed| sealed.sealer.seal_frame(says, data));
        self.socket.write_all(sealed.as_deref().unwrap_or(data)).await
    }

    /// Sends bytes past the sealing.
    pub async fn send_unsealed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Closes this side's direction only.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }

    /// The next message, without its length.
    pub async fn read_message(&mut self, most: usize) -> Result<Vec<u8>, ReadError> {
        let length = self.read_varint().await?;
        let fits = usize::try_from(length).ok().filter(|length| *length <= most);
        let Some(fits) = fits else { return Err(ReadError::TooLong { length, most }) };
        while self.unread.len() < fits {
            self.read_more().await?;
        }
        Ok(self.unread.drain(..fits).collect())
    }

    async fn read_varint(&mut self) -> Result<u64, ReadError> {
        let mut value = 0u64;
        for position in 0..10 {
            while self.unread.is_empty() {
                self.read_more().await?;
            }
            let byte = self.unread.pop_front().expect("there is one");
            let bits = u64::from(byte & 0x7f);
            if position == 9 && byte > 1 {
                return Err(ReadError::Length);
            }
            value |= bits << (7 * position);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ReadError::Length)
    }

    async fn read_more(&mut self) -> Result<(), ReadError> {
        if let Some(sealed) = &mut self.sealed {
            let mut frame = [0; FRAME_SEALED];
            self.socket.read_exact(&mut frame).await?;
            self.unread.extend(sealed.opener.open(&frame)?);
            return Ok(());
        }
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes).await? {
            0 => Err(ReadError::Closed),
            read => {
                self.unread.extend(&bytes[..read]);
                Ok(())
            }
        }
    }
}

/// A message with its length in front.
pub fn delimited(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 10);
    prost::encode_length_delimiter(message.len(), &mut bytes).expect("a vector grows");
    bytes.extend_from_slice(message);
    bytes
}
