//! Messages with their length in front, a varint: the form on unix sockets and inside Noise.

use super::ReadError;
use crate::message::{Envelope, MAX_MESSAGE_BYTES};
use prost::Message as _;
use std::io;
use tendermint_proto::v0_38::privval::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

/// Reads such messages.
pub(crate) struct Reader<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(stream: R) -> Self {
        Self(BufReader::new(stream))
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Envelope, ReadError> {
        let len = self.length().await?;
        let fits = usize::try_from(len).ok().filter(|len| *len <= MAX_MESSAGE_BYTES);
        let mut bytes = vec![0; fits.ok_or(ReadError::TooLong(len))?];
        self.0.read_exact(&mut bytes).await.map_err(ended)?;
        Envelope::decode(&*bytes).map_err(|why| ReadError::NotProtobuf(why.to_string()))
    }

    async fn length(&mut self) -> Result<u64, ReadError> {
        let mut len = 0;
        // The longest length that is let through has three bytes; one more tells how far beyond it is.
        for shift in [0, 7, 14, 21] {
            let byte = self.0.read_u8().await.map_err(ended)?;
            len |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(len);
            }
        }
        Err(ReadError::TooLong(len))
    }
}

/// Writes a message.
pub(crate) async fn write<W: AsyncWrite + Unpin>(writer: &mut W, message: &Message) -> io::Result<()> {
    writer.write_all(&message.encode_length_delimited_to_vec()).await?;
    writer.flush().await
}

fn ended(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Closed,
        _ => ReadError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    async fn read(bytes: &[u8]) -> Result<Envelope, ReadError> {
        Reader::new(bytes).next().await
    }

    #[tokio::test]
    async fn a_message_is_read_from_whatever_pieces_it_comes_in() {
        let (mut node, front) = tokio::io::duplex(1);
        let sent = tokio::spawn(async move {
            node.write_all(&[2, 0x3a, 0, 2, 0x3a, 0]).await.unwrap();
        });
        let mut reader = Reader::new(front);
        for _ in 0..2 {
            assert_eq!(reader.next().await.unwrap().request(), Ok(Request::Ping));
        }
        assert!(matches!(reader.next().await, Err(ReadError::Closed)));
        sent.await.unwrap();
    }

    #[tokio::test]
    async fn what_no_node_sends_is_refused_before_room_is_made_for_it() {
        assert!(matches!(read(&[0xff, 0xff, 0xff, 0xff, 0xff]).await, Err(ReadError::TooLong(_))));
        assert!(matches!(read(&[0xff, 0xff, 0x7f]).await, Err(ReadError::TooLong(2_097_151))));
        assert!(matches!(read(&[2, 0xff, 0xff]).await, Err(ReadError::NotProtobuf(_))));
        assert!(matches!(read(&[5, 0x3a]).await, Err(ReadError::Closed)));
    }
}
