//! The address of a node: what its `priv_validator_laddr` says, seen from the side that dials.

use libp2p_identity::PeerId;
use std::{fmt, path::PathBuf, str::FromStr};

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeAddress {
    /// `unix:///run/node/privval.sock`: plain messages over a unix socket.
    Unix(PathBuf),
    /// `tcp://host:port`: messages over CometBFT's SecretConnection.
    Tcp(HostPort),
    /// `noise://PEER@host:port`: messages over libp2p's Noise, for CometBFT 0.40 and later.
    Noise {
        /// The node's peer id; a node with another one is not answered.
        peer: PeerId,
        /// Where it listens.
        at: HostPort,
    },
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not the address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node address {given:?}: {why}")]
pub struct AddressError {
    /// The text.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for NodeAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |why| AddressError { given: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error(FORMS))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(error("the path of a unix socket is absolute: unix:///run/node/privval.sock")),
            "tcp" if rest.contains('@') => Err(error(
                "a node has another identity at every start, so it cannot be named in tcp://; use noise:// (0.40 and \
                 later) or a unix socket where the network is not trusted",
            )),
            "tcp" => Ok(Self::Tcp(host_port(rest).map_err(error)?)),
            "noise" => {
                let (peer, at) = rest
                    .split_once('@')
                    .ok_or_else(|| error("the node's peer id comes first: noise://PEER@host:port"))?;
                let peer = peer
                    .parse()
                    .map_err(|_| error("before the @ stands the node's libp2p peer id, 12D3KooW…"))?;
                Ok(Self::Noise { peer, at: host_port(at).map_err(error)? })
            }
            _ => Err(error(FORMS)),
        }
    }
}

const FORMS: &str = "it is unix:///path, tcp://host:port or noise://PEER@host:port";

fn host_port(text: &str) -> Result<HostPort, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing: host:port")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() || (bare.contains(':') && bare.len() == host.len()) || bare.contains('/') {
        return Err("the host is a name or an IP address; an IPv6 address stands in brackets");
    }
    match port.parse() {
        Ok(0) | Err(_) => Err("the port is a number from 1 to 65535"),
        Ok(port) => Ok(HostPort { host: bare.to_owned(), port }),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(at) => write!(f, "tcp://{at}"),
            Self::Noise { peer, at } => write!(f, "noise://{peer}@{at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_in_one_form() {
        for text in [
            "unix:///run/node/privval.sock",
            "tcp://10.0.0.5:26659",
            "tcp://node.example:26659",
            "tcp://[2001:db8::5]:26659",
            "noise://12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp@10.0.0.5:26659",
        ] {
            assert_eq!(text.parse::<NodeAddress>().map(|read| read.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_address_is_named_with_the_form_that_is_one() {
        for (text, says) in [
            ("10.0.0.5:26659", "unix:///path"),
            ("http://a:1", "unix:///path"),
            ("unix://privval.sock", "absolute"),
            ("tcp://10.0.0.5", "port is missing"),
            ("tcp://10.0.0.5:0", "1 to 65535"),
            ("tcp://10.0.0.5:66000", "1 to 65535"),
            ("tcp://:26659", "a name or an IP address"),
            ("tcp://2001:db8::5:26659", "in brackets"),
            ("tcp://abc@10.0.0.5:26659", "another identity at every start"),
            ("noise://10.0.0.5:26659", "peer id comes first"),
            ("noise://abc@10.0.0.5:26659", "12D3KooW"),
        ] {
            let error = text.parse::<NodeAddress>().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(text), "{text}: {error}");
        }
    }
}
