//! What a node does to its signer that it should not.

use crate::{
    endpoint::Endpoint,
    wire::{ReadError, Wire},
};
use std::{io, time::Duration};
use tokio::time::{sleep, timeout};

/// Something wrong, done on the present connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Neither requests nor pings for so long.
    Silence(Duration),
    /// So many pings, each sent when the one before was answered.
    Pings(u32),
    /// A request so often, without reading an answer.
    Flood {
        /// Its bytes, without a length.
        request: Vec<u8>,
        /// How often.
        times: u32,
    },
    /// A message without waiting for its answer.
    Message(Vec<u8>),
    /// Data as they are: no length is put in front.
    Data(Vec<u8>),
    /// A message that says it is so long, and its first bytes.
    OversizeMessage(u64),
    /// A frame that says it holds so many bytes.
    OversizeFrame(u32),
    /// Bytes that are not sealed.
    Unsealed(Vec<u8>),
    /// The node's direction is closed, the signer's stays open.
    HalfClose,
    /// The connection is closed.
    Close,
}

impl Fault {
    /// Does it. An error says that the signer has closed, or does not read.
    pub(crate) async fn commit(self, endpoint: &mut Endpoint, patience: Duration) -> io::Result<()> {
        match self {
            Self::Silence(time) => sleep(time).await,
            Self::Pings(times) => {
                for _ in 0..times {
                    endpoint.ping().await;
                }
            }
            Self::Close => endpoint.drop_connection(),
            Self::Flood { .. }
            | Self::Message(_)
            | Self::Data(_)
            | Self::OversizeMessage(_)
            | Self::OversizeFrame(_)
            | Self::Unsealed(_)
            | Self::HalfClose => {
                let wire = endpoint.wire().await.ok_or(io::ErrorKind::NotConnected)?;
                timeout(patience, self.send(wire)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
        }
        Ok(())
    }

    async fn send(self, wire: &mut Wire) -> io::Result<()> {
        match self {
            Self::Silence(_) | Self::Pings(_) | Self::Close => Ok(()),
            Self::Flood { request, times } => {
                for _ in 0..times {
                    wire.send_message(&request).await?;
                }
                Ok(())
            }
            Self::Message(message) => wire.send_message(&message).await,
            Self::Data(data) => wire.send(&data).await,
            Self::OversizeMessage(length) => {
                let mut data = Vec::new();
                prost::encoding::encode_varint(length, &mut data);
                data.extend([0x1a; 100]);
                wire.send(&data).await
            }
            Self::OversizeFrame(says) => wire.send_frame(says, &[0x1a; 100]).await,
            Self::Unsealed(bytes) => wire.send_unsealed(&bytes).await,
            Self::HalfClose => wire.half_close().await,
        }
    }
}

/// Reads whatever comes until the signer closes; whether it did so in time. Afterwards the connection is dropped.
pub(crate) async fn signer_closes(endpoint: &mut Endpoint, within: Duration) -> bool {
    let Some(wire) = endpoint.wire().await else { return true };
    let closed = timeout(within, async {
        loop {
            match wire.read_message(usize::MAX).await {
                Err(ReadError::Closed | ReadError::Broken(_)) => return,
                // It is not our part to judge what it says.
                Ok(_) | Err(ReadError::TooLong { .. } | ReadError::Length | ReadError::Secret(_)) => {}
            }
        }
    });
    let closed = closed.await.is_ok();
    endpoint.drop_connection();
    closed
}
