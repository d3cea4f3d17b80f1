//! Connections to a chain's node: the operator's own, or somebody else's behind a URL.

use hyper::{Uri, body::Bytes};
use signonce_shared::http::{HttpClient, Limits, Stream, trusting};
use std::{fmt, path::Path, time::Duration};

/// The limits of an answer, and of making a connection.
const LIMITS: Limits = Limits { time: Duration::from_secs(15), bytes: 64 << 20 };

/// Makes connections.
#[derive(Clone)]
pub struct Dialer(HttpClient);

impl Dialer {
    /// Trusts the authorities in a PEM file, or else those of this machine.
    ///
    /// # Errors
    /// If the file cannot be read, as readable text.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        Ok(Self(HttpClient::new(trusting(authorities)?)))
    }

    /// A stream to the host of `url`, encrypted for `https` and `wss`.
    ///
    /// # Errors
    /// A message with the host if it cannot be reached, or its certificate is not trusted.
    pub async fn connect(&self, url: &Uri) -> Result<Box<dyn Stream>, String> {
        let connected = tokio::time::timeout(LIMITS.time, self.0.connect(url)).await;
        let late = |_| format!("no connection in {} s", LIMITS.time.as_secs());
        connected.map_err(late).flatten().map_err(|why| format!("{}: {why}", Address::of(url)))
    }

    /// Posts JSON. Returns the status and the body of the answer.
    ///
    /// # Errors
    /// A message if there is no answer, or none in time.
    pub async fn post(&self, url: &Uri, body: String) -> Result<(u16, Bytes), String> {
        let posted = self.0.post_json(url, body, LIMITS).await;
        let answer = posted.map_err(|why| format!("{}: {why}", Address::of(url)))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }
}

/// A URL as it may be shown: its scheme, host and port. What else is in it may be a password or a provider's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// That of `url`.
    pub fn of(url: &Uri) -> Self {
        let scheme = url.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
        let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        Self(format!("{scheme}{}{port}", url.host().unwrap_or("a URL without a host")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_nothing_that_may_be_a_secret() {
        for (url, shown) in [
            ("wss://user:word@rpc.example:9944/KEY?token=1", "wss://rpc.example:9944"),
            ("http://[::1]:9944/", "http://[::1]:9944"),
            ("/path", "a URL without a host"),
        ] {
            assert_eq!(Address::of(&url.parse().unwrap()).to_string(), shown);
        }
    }
}
