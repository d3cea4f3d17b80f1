//! The name of one request.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::NodeId;
use std::{fmt, str::FromStr};

/// Names one request among all that were ever made, so that the node that made it finds its waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId {
    /// The node that made it.
    pub node: NodeId,
    /// Which start of that node's process.
    pub boot: u64,
    /// Counts up within the process.
    pub seq: u64,
}

impl FromStr for RequestId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(node)), Some(Ok(boot)), Some(Ok(seq)), None) => {
                Ok(Self { node: NodeId(node), boot, seq })
            }
            _ => Err(format!("{text:?} is not a request ID: it is NODE/START/NUMBER")),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.boot, self.seq)
    }
}
