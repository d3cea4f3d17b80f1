//! One HTTP/1.1 request over a stream that is open already: JSON posted, and what came back. For the admin socket,
//! chains, webhooks and collectors; who makes the stream decides about TLS and about how long to wait.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The request was not sent.
    #[error("{0}")]
    NotSent(String),
    /// The request may have arrived.
    #[error("{0}")]
    NoAnswer(String),
}

/// Posts `body` to `path`. `host` is what the other side is called, as a URL has it: with the port, and brackets around
/// an IPv6 address. An answer of more than `max_answer` bytes is an error.
///
/// # Errors
/// See [`PostError`]. An answer that tells of an error is none here.
pub async fn post_json<S>(
    stream: S,
    host: &str,
    path: &str,
    body: impl Into<Bytes>,
    max_answer: usize,
) -> Result<(StatusCode, Bytes), PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| PostError::NotSent(e.to_string()))?;
    let request = Request::post(path)
        .header(http::header::HOST, host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .map_err(|e| PostError::NotSent(e.to_string()))?;
    // Ends with `sender`, which lives as long as this call.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| PostError::NoAnswer(e.to_string()))?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), max_answer).collect().await;
    Ok((status, answer.map_err(|e| PostError::NoAnswer(e.to_string()))?.to_bytes()))
}
