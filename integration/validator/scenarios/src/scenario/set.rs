//! What most stories begin with: a chain, a signer cluster with the keys of its validators, and nodes that know each
//! other.

use crate::{
    chain::Chain,
    cluster::{ClientFiles, Cluster},
    keys::ValidatorKeys,
    logs::Equivocations,
    node::{Node, NodeSetup},
    report::Report,
    stage::{Stage, until},
};
use signonce_protocol::Position;
use signonce_substrate::{BABE, GRANDPA};
use std::{collections::BTreeMap, time::Duration};

/// How long anything may take that must come about. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A chain whose validators' keys are all in one cluster.
pub struct Guarded {
    /// The cluster.
    pub cluster: Cluster,
    /// The chain.
    pub chain: Chain,
    /// Each validator's keys and what it shows the signers.
    pub validators: Vec<(ValidatorKeys, ClientFiles)>,
}

impl Guarded {
    /// With three signers and so many validators.
    ///
    /// # Errors
    /// If chain or cluster cannot be made.
    pub async fn start(stage: &Stage, validators: usize) -> anyhow::Result<Self> {
        let keys = new_keys(validators)?;
        let chain = Chain::build(stage, "chain", &keys).await?;
        let cluster = Cluster::start(stage, 3).await?;
        cluster.add_chain(&chain).await?;
        let mut all = Vec::new();
        for keys in keys {
            let files = cluster.add_validator(&chain.genesis, &keys).await?;
            all.push((keys, files));
        }
        stage.say(format!("the keys of {validators} validators are in the cluster"));
        Ok(Self { cluster, chain, validators: all })
    }

    /// The node of a validator, without a key.
    pub fn setup(&self, at: usize) -> NodeSetup {
        let (keys, files) = &self.validators[at];
        NodeSetup::remote(&keys.name, self.cluster.urls(), files)
    }

    /// Every validator's node.
    pub fn setups(&self) -> Vec<NodeSetup> {
        (0..self.validators.len()).map(|at| self.setup(at)).collect()
    }
}

/// How far a validator's block key and its finality key have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The last slot sealed.
    pub slot: Option<Position>,
    /// The last set and round voted in.
    pub round: Option<Position>,
}

impl Guarded {
    /// How far a validator has signed, on whichever node.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub async fn signed(&self, at: usize) -> anyhow::Result<Signed> {
        let (keys, files) = &self.validators[at];
        Ok(Signed {
            slot: self.cluster.highest(files, keys, BABE).await?,
            round: self.cluster.highest(files, keys, GRANDPA).await?,
        })
    }

    /// Waits until a validator's keys have signed a later block and vote in later rounds. The second later round is
    /// meant, as a dead node's last request may be granted after its death.
    ///
    /// # Errors
    /// If they have not in time.
    pub async fn signs_after(&self, at: usize, before: Signed, patience: Duration) -> anyhow::Result<Signed> {
        let name = &self.validators[at].0.name;
        let mut last = before;
        for _ in 0..2 {
            let what = format!("the keys of {name} sign after {last:?}");
            let later =
                async || self.signed(at).await.ok().filter(|it| it.slot > last.slot && it.round > last.round);
            last = until(&what, patience, later).await?;
        }
        Ok(last)
    }
}

/// Keys of so many validators.
///
/// # Errors
/// If no key can be made.
pub fn new_keys(count: usize) -> anyhow::Result<Vec<ValidatorKeys>> {
    (1..=count).map(|number| ValidatorKeys::generate(&format!("validator-{number}"))).collect()
}

/// Equivocations that a node has seen since it started.
pub const SEEN: &str = "signonce_validator_equivocations";
/// The kinds of offences that are equivocations. The other one of the test chain is `im-online`: being away.
const EQUIVOCATIONS: [&str; 3] = ["babe", "grandpa", "beefy"];
/// Offences that the chain has accepted as proven.
pub const PROVEN: &str = "signonce_validator_proven_offences";

/// Nodes of one chain that know each other.
pub struct Network {
    addresses: Vec<String>,
    /// The nodes, in the order they were given.
    pub nodes: Vec<Node>,
}

impl Network {
    /// Starts them all.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start(stage: &Stage, chain: &Chain, mut setups: Vec<NodeSetup>) -> anyhow::Result<Self> {
        setups.iter_mut().try_for_each(NodeSetup::place)?;
        let addresses: Vec<String> = setups.iter().map(NodeSetup::address).collect();
        let start = |setup| Node::start_among(stage, chain, setup, &addresses);
        let nodes = setups.into_iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
        stage.say(format!("{} nodes are started", nodes.len()));
        Ok(Self { addresses, nodes })
    }

    /// Starts a node again that has ended, with its data.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn restart(&mut self, stage: &Stage, chain: &Chain, at: usize) -> anyhow::Result<()> {
        let setup = self.nodes[at].setup.clone();
        self.nodes[at] = Node::start_among(stage, chain, setup, &self.addresses)?;
        Ok(())
    }

    /// Waits until every node has finalized above `height`.
    ///
    /// # Errors
    /// If one ends, or does not in time.
    pub async fn finalized_above(&self, height: u64, patience: Duration) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.finalized_above(height, patience).await?;
        }
        Ok(())
    }

    /// What the detectors of all nodes have found, over all their runs.
    pub fn equivocations(&self) -> Equivocations {
        Equivocations::in_logs(self.nodes.iter().map(Node::log))
    }

    /// Notes in the report what nodes and chain know of equivocations, and that it is nothing.
    ///
    /// # Errors
    /// If a node does not answer.
    pub async fn check_nothing_equivocated(&self, report: &mut Report) -> anyhow::Result<()> {
        let found = self.equivocations();
        report.check("no log tells of an equivocation", found.total() == 0, found.to_string());
        for (what, metric) in [("seen by the nodes", SEEN), ("proven on the chain", PROVEN)] {
            let counts = self.counted(metric).await?;
            let none = EQUIVOCATIONS.iter().all(|kind| counts.get(*kind) == Some(&0));
            report.check(format!("no equivocation was {what}"), none, format!("{counts:?}"));
        }
        Ok(())
    }

    /// The counts of a metric by kind: of each the highest that a running node has.
    ///
    /// # Errors
    /// If a node does not answer.
    pub async fn counted(&self, metric: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut highest = BTreeMap::new();
        for node in &self.nodes {
            for (kind, count) in node.metrics().await?.by_label(metric, "kind") {
                let highest = highest.entry(kind).or_insert(0);
                *highest = (count as u64).max(*highest);
            }
        }
        Ok(highest)
    }

    /// Notes in the report that all run, or which does not and why.
    pub fn check_all_run(&self, report: &mut Report) {
        let ended: Vec<String> = self
            .nodes
            .iter()
            .filter_map(|node| node.must_run().err())
            .map(|error| error.to_string())
            .collect();
        report.check("no node has ended", ended.is_empty(), ended.join("\n"));
    }
}
