//! Which node a pod is, and with what configuration.
//!
//! A pod keeps its identity on its volume. An empty volume may become a node in only two ways: as one of the first
//! members, while the cluster has never formed; or as a new member with a fresh id, when an operator has left a join
//! offer for this ordinal. In every other case the pod refuses, because a node without memory under an old id could
//! help to sign twice. [`decide`] is the whole rule.

use serde::Deserialize;
use signonce_protocol::NodeId;
use std::path::Path;
use toml::{Table, Value};

/// A pod's ordinal in its StatefulSet: the last part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The ordinal in `<set>-<ordinal>`.
    ///
    /// # Errors
    /// [`PodError::Name`].
    pub fn of_pod(name: &str) -> Result<Self, PodError> {
        let number = name.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        number.map(Self).ok_or_else(|| PodError::Name(name.to_owned()))
    }

    /// The id of the first member with this ordinal.
    pub const fn first_node(self) -> NodeId {
        NodeId(self.0 as u64 + 1)
    }
}

/// A join offer, as printed by `signonce members add --json`: permission for one new member.
#[derive(Clone, Deserialize)]
pub struct JoinOffer {
    /// The fresh id.
    pub node: NodeId,
    /// The one-time token.
    pub token: String,
}

impl std::fmt::Debug for JoinOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinOffer(node {})", self.node)
    }
}

/// What is known when a pod starts.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The pod's ordinal.
    pub ordinal: Ordinal,
    /// The node whose store the volume holds, if any.
    pub stored: Option<NodeId>,
    /// The StatefulSet whose pod it is.
    pub set: &'a str,
    /// The StatefulSet that the cluster's id belongs to, by the chart's lock.
    pub owner: Option<&'a str>,
    /// Whether the cluster has formed, as recorded by the chart's job.
    pub formed: bool,
    /// The members the cluster forms from.
    pub initial: &'a [NodeId],
    /// The offer for this ordinal, if an operator left one.
    pub offer: Option<NodeId>,
}

/// What the pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Runs with the store it has.
    Run(NodeId),
    /// Makes the store of a first member.
    Form(NodeId),
    /// Joins as a new member.
    Join(NodeId),
}

impl Plan {
    /// The node.
    pub const fn node(self) -> NodeId {
        match self {
            Self::Run(node) | Self::Form(node) | Self::Join(node) => node,
        }
    }
}

/// Why a pod cannot be a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// Not a name that a StatefulSet gives.
    #[error("the pod is called {0:?}, which does not end with an ordinal as in a StatefulSet")]
    Name(String),
    /// The volume is empty and the cluster has formed.
    #[error(
        "the volume of ordinal {ordinal} is empty, but the cluster has formed: its old member has lost its memory and \
         must never come back under its id. Replace it: `signonce members replace`, put what it prints into the join \
         secret as {ordinal}.json, and delete this pod"
    )]
    Amnesia {
        /// The ordinal.
        ordinal: u32,
    },
    /// A higher ordinal than the cluster has first members.
    #[error(
        "ordinal {ordinal} is none of the {initial} first members, and the cluster has to form before it grows: scale \
         back, and add members once it runs (`signonce members add`)"
    )]
    TooEarly {
        /// The ordinal.
        ordinal: u32,
        /// How many first members there are.
        initial: usize,
    },
    /// The cluster's id belongs to another release.
    #[error(
        "the cluster id of this release belongs to {owner} in this namespace: two clusters under one id could both \
         sign the same duty, so this one never forms. Leave cluster.id empty for a cluster of its own"
    )]
    AnothersCluster {
        /// The StatefulSet that has it.
        owner: String,
    },
    /// There is no lock that tells whose the id is.
    #[error(
        "nothing says whose the cluster id is (the file `owner`, of the chart's ConfigMap signonce-cluster-<id>), and \
         a cluster forms only under an id of its own: install the chart as a whole"
    )]
    Unowned,
    /// The volume still holds another node.
    #[error(
        "the volume of ordinal {ordinal} holds node {stored}, the join secret offers node {offered}: to replace the \
         node delete its volume claim, to keep it remove {ordinal}.json from the join secret"
    )]
    TwoIdentities {
        /// The ordinal.
        ordinal: u32,
        /// The node in the store.
        stored: NodeId,
        /// The node of the offer.
        offered: NodeId,
    },
    /// The base configuration cannot be used.
    #[error("the base configuration of the pods is not usable: {0}")]
    Base(String),
}

/// Decides which node a pod is.
///
/// # Errors
/// Any [`PodError`]: the pod must not start.
pub fn decide(at: &Surroundings<'_>) -> Result<Plan, PodError> {
    let ordinal = at.ordinal.0;
    match (at.stored, at.offer) {
        (Some(stored), Some(offered)) if stored != offered => {
            Err(PodError::TwoIdentities { ordinal, stored, offered })
        }
        (Some(stored), _) => Ok(Plan::Run(stored)),
        (None, Some(offered)) => Ok(Plan::Join(offered)),
        (None, None) if at.formed => Err(PodError::Amnesia { ordinal }),
        (None, None) if at.initial.contains(&at.ordinal.first_node()) => match at.owner {
            Some(owner) if owner == at.set => Ok(Plan::Form(at.ordinal.first_node())),
            Some(owner) => Err(PodError::AnothersCluster { owner: owner.to_owned() }),
            None => Err(PodError::Unowned),
        },
        (None, None) => Err(PodError::TooEarly { ordinal, initial: at.initial.len() }),
    }
}

/// The place of a pod's certificate, and its host name.
#[derive(Debug)]
pub struct Site<'a> {
    /// The directory with `tls.crt`, `tls.key` and `ca.crt` of this ordinal.
    pub tls: &'a Path,
    /// The pod's own DNS name.
    pub host: &'a str,
}

/// The configuration of `node`: the base that all pods share, with its own settings.
///
/// # Errors
/// [`PodError::Base`].
pub fn configure(base: &str, node: NodeId, site: &Site<'_>) -> Result<String, PodError> {
    let bad = |why: String| PodError::Base(why);
    let mut config: Table = base.parse().map_err(|e: toml::de::Error| bad(e.to_string()))?;
    let id = i64::try_from(node.0).map_err(|e| bad(e.to_string()))?;
    let file = |name: &str| Value::String(site.tls.join(name).display().to_string());
    section(&mut config, "node")?.insert("id".into(), Value::Integer(id));
    let tls = section(&mut config, "tls")?;
    for (setting, name) in [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
        tls.insert(setting.into(), file(name));
    }
    let cluster = section(&mut config, "cluster")?;
    let members = cluster.entry("members").or_insert_with(|| Value::Array(Vec::new()));
    let members = members.as_array_mut().ok_or_else(|| bad("cluster.members is not a list".into()))?;
    let is_own = |member: &Value| member.get("id").and_then(Value::as_integer) == Some(id);
    if !members.iter().any(is_own) {
        // A member that had this pod's name, and address, before.
        members.retain(|m| m.get("peer").and_then(Value::as_str) != Some(&format!("{}:7300", site.host)));
        members.push(Value::Table(Table::from_iter([
            ("id".to_owned(), Value::Integer(id)),
            ("peer".to_owned(), Value::String(format!("{}:7300", site.host))),
            ("client_url".to_owned(), Value::String(format!("https://{}:7301", site.host))),
        ])));
    }
    toml::to_string(&config).map_err(|e| bad(e.to_string()))
}

/// The ids of the members in the base configuration.
///
/// # Errors
/// [`PodError::Base`].
pub fn initial_members(base: &str) -> Result<Vec<NodeId>, PodError> {
    #[derive(Deserialize)]
    struct Base {
        cluster: Cluster,
    }
    #[derive(Deserialize)]
    struct Cluster {
        members: Vec<Member>,
    }
    #[derive(Deserialize)]
    struct Member {
        id: NodeId,
    }
    let base: Base = toml::from_str(base).map_err(|e| PodError::Base(e.to_string()))?;
    Ok(base.cluster.members.into_iter().map(|member| member.id).collect())
}

fn section<'a>(config: &'a mut Table, name: &str) -> Result<&'a mut Table, PodError> {
    let section = config.entry(name).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().ok_or_else(|| PodError::Base(format!("{name} is no section")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        [node]
        data_dir = "/var/lib/signonce"
        [cluster]
        id = "0123456789abcdef0123456789abcdef"
        members = [
          { id = 1, peer = "s-0.peers:7300", client_url = "https://s-0.peers:7301" },
          { id = 2, peer = "s-1.peers:7300", client_url = "https://s-1.peers:7301" },
        ]
    "#;

    fn at(ordinal: u32, stored: Option<u64>, formed: bool, offer: Option<u64>) -> Result<Plan, PodError> {
        let initial = [1, 2, 3].map(NodeId);
        let [stored, offer] = [stored, offer].map(|id| id.map(NodeId));
        decide(&Surroundings {
            ordinal: Ordinal(ordinal),
            set: "s",
            owner: Some("s"),
            stored,
            formed,
            initial: &initial,
            offer,
        })
    }

    #[test]
    fn an_empty_volume_becomes_a_node_only_before_the_cluster_formed_or_with_an_offer() {
        assert_eq!(at(0, None, false, None), Ok(Plan::Form(NodeId(1))));
        assert_eq!(at(2, None, false, None), Ok(Plan::Form(NodeId(3))));
        assert_eq!(at(1, None, true, None), Err(PodError::Amnesia { ordinal: 1 }));
        assert_eq!(at(1, None, true, Some(70)), Ok(Plan::Join(NodeId(70))));
        assert_eq!(at(3, None, true, Some(71)), Ok(Plan::Join(NodeId(71))));
        assert_eq!(at(3, None, false, None), Err(PodError::TooEarly { ordinal: 3, initial: 3 }));
    }

    #[test]
    fn a_cluster_forms_only_under_an_id_of_its_own() {
        let at = |owner, stored, offer| {
            decide(&Surroundings {
                ordinal: Ordinal(0),
                set: "t",
                owner,
                stored,
                formed: false,
                initial: &[NodeId(1)],
                offer,
            })
        };
        assert_eq!(at(Some("t"), None, None), Ok(Plan::Form(NodeId(1))));
        assert_eq!(at(Some("s"), None, None), Err(PodError::AnothersCluster { owner: "s".into() }));
        assert_eq!(at(None, None, None), Err(PodError::Unowned));
        // A member is one, whoever the lock was written for.
        assert_eq!(at(None, Some(NodeId(1)), None), Ok(Plan::Run(NodeId(1))));
        assert_eq!(at(None, None, Some(NodeId(70))), Ok(Plan::Join(NodeId(70))));
    }

    #[test]
    fn a_volume_keeps_its_node_whatever_the_ordinal_once_meant() {
        assert_eq!(at(1, Some(2), true, None), Ok(Plan::Run(NodeId(2))));
        assert_eq!(at(1, Some(70), true, None), Ok(Plan::Run(NodeId(70))));
        assert_eq!(at(1, Some(70), true, Some(70)), Ok(Plan::Run(NodeId(70))), "the offer was taken");
        let two = PodError::TwoIdentities { ordinal: 1, stored: NodeId(2), offered: NodeId(70) };
        assert_eq!(at(1, Some(2), true, Some(70)), Err(two));
    }

    #[test]
    fn the_ordinal_is_the_end_of_the_pods_name() {
        assert_eq!(Ordinal::of_pod("my-signonce-12"), Ok(Ordinal(12)));
        for name in ["signonce", "signonce-", "signonce-x", ""] {
            assert_eq!(Ordinal::of_pod(name), Err(PodError::Name(name.into())));
        }
    }

    #[test]
    fn the_configuration_is_the_base_with_what_is_the_pods_own() {
        let site = Site { tls: Path::new("/etc/signonce/tls/1"), host: "s-1.peers" };
        let first: Table = configure(BASE, NodeId(2), &site).unwrap().parse().unwrap();
        assert_eq!(first["node"]["id"].as_integer(), Some(2));
        assert_eq!(first["node"]["data_dir"].as_str(), Some("/var/lib/signonce"));
        assert_eq!(first["tls"]["cert"].as_str(), Some("/etc/signonce/tls/1/tls.crt"));
        assert_eq!(first["cluster"]["members"].as_array().unwrap().len(), 2);
        assert_eq!(initial_members(BASE).unwrap(), [NodeId(1), NodeId(2)]);
    }

    #[test]
    fn a_new_member_takes_the_place_of_the_one_that_had_its_address() {
        let site = Site { tls: Path::new("/etc/signonce/tls/1"), host: "s-1.peers" };
        let joined: Table = configure(BASE, NodeId(70), &site).unwrap().parse().unwrap();
        let members = joined["cluster"]["members"].as_array().unwrap();
        let ids: Vec<_> = members.iter().map(|m| m["id"].as_integer().unwrap()).collect();
        assert_eq!(ids, [1, 70]);
        assert_eq!(members[1]["client_url"].as_str(), Some("https://s-1.peers:7301"));
    }

    #[test]
    fn an_offer_never_shows_its_token() {
        let offer: JoinOffer = serde_json::from_str(r#"{"node": 70, "token": "hush", "next": []}"#).unwrap();
        assert_eq!(format!("{offer:?}"), "JoinOffer(node 70)");
    }
}
