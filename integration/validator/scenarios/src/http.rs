//! Plain HTTP to processes on this machine: metrics, probes, JSON-RPC.

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Status and body.
///
/// # Errors
/// If there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let request = Request::get(path).header("host", address.to_string()).body(Full::default())?;
    send(address, request).await
}

/// Posts JSON; the body of the answer.
///
/// # Errors
/// If there is no answer.
pub async fn post(address: SocketAddr, body: String) -> anyhow::Result<String> {
    let request = Request::post("/")
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    Ok(send(address, request).await?.1)
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("{address} does not answer"))?
}
