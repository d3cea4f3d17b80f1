//! Frames on a byte stream.

use signonce_core::codec::CodecError;
use signonce_driver::frame::{Frame, FrameError, LENGTH_BYTES, body_len};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl From<CodecError> for StreamError {
    fn from(error: CodecError) -> Self {
        Self::Frame(error.into())
    }
}

/// Ends a stream on which an unexpected frame arrived.
pub(super) const UNEXPECTED: StreamError = StreamError::Frame(FrameError::Unexpected);

/// Writes the frame and flushes.
pub(super) async fn write(frame: &Frame, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), StreamError> {
    stream.write_all(&frame.to_bytes()).await?;
    Ok(stream.flush().await?)
}

/// Reads one frame of at most `limit` bytes.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Frame, StreamError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let mut body = vec![0; body_len(length, limit)?];
    stream.read_exact(&mut body).await?;
    Ok(Frame::from_body(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_over_the_limit_is_not_read_into_memory() {
        let bytes = Frame::Raft(vec![0; 100]).to_bytes();
        let too_long = read(&mut &bytes[..], 50).await;
        assert!(matches!(too_long, Err(StreamError::Frame(FrameError::TooLong(_)))));
        assert!(matches!(read(&mut &bytes[..], 500).await, Ok(Frame::Raft(_))));
        assert!(matches!(read(&mut &bytes[..50], 500).await, Err(StreamError::Io(_))));
    }
}
