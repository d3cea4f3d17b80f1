//! A view of the whole cluster: the node that an operator asks asks the others, so that one socket shows them all.
//!
//! Members ask each other on the client port, with the certificates they have anyway: [`NodeApiServer`] answers only
//! members of the cluster. Their answers are [`NodeReport`]s, which hold nothing secret. The operators'
//! `admin_overview` puts the reports side by side; `signonce status` and `signonce top` show them.

pub mod clocks;

use crate::{
    admin::{
        roles::{self, Method},
        server::Admin,
    },
    metrics::{Metrics, keys, machine::Machine},
};
use http::Extensions;
use jsonrpsee::{RpcModule, core::async_trait, proc_macros::rpc};
use serde::de::DeserializeOwned;
use serde_json::json;
use signonce_cluster::{Handle, LatencyCounts, Stage, clock::unix_ms};
use signonce_core::replica::hello::{ClusterId, node_name};
use signonce_protocol::NodeId;
use signonce_shared::{
    admin::{
        api::{AdminError, AdminErrorCode, OverviewApiServer},
        client::{AdminClient, CallError},
    },
    config::Config,
    overview::{KeyProgress, NodeReport, NodeView, Overview, StageCounts},
    tls::DnsNames,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long another member may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What members ask each other.
#[rpc(server, namespace = "node")]
pub trait NodeApi {
    /// The report of this node.
    #[method(name = "report", with_extensions)]
    async fn report(&self) -> Result<NodeReport, AdminError>;

    /// This node's clock, in Unix milliseconds.
    #[method(name = "time", with_extensions)]
    async fn time(&self) -> Result<u64, AdminError>;
}

/// Makes this node's report and collects those of others. Shared.
pub struct Overseer {
    admin: Admin,
    handle: Handle,
    metrics: Arc<Metrics>,
    machine: Arc<Machine>,
    cluster: Option<ClusterId>,
}

impl Overseer {
    /// For the node that `admin` speaks for.
    pub fn new(admin: Admin, metrics: Arc<Metrics>, machine: Arc<Machine>, config: &Config) -> Self {
        let handle = admin.handle.clone();
        let cluster = config.cluster.id.parse().ok();
        Self { admin, handle, metrics, machine, cluster }
    }

    /// The report of this node.
    pub fn report(&self) -> NodeReport {
        let stage = |stage: Stage| {
            let LatencyCounts { buckets, nanoseconds } = self.metrics.stage(stage).counts();
            StageCounts { stage: stage.name().into(), buckets: buckets.to_vec(), nanoseconds }
        };
        NodeReport {
            status: self.admin.look(),
            certificates: self.machine.certificates(),
            disk: self.machine.disk(),
            requests: self.metrics.requests().counts(),
            stages: Stage::ALL.map(stage).to_vec(),
            keys: self.keys(),
        }
    }

    fn keys(&self) -> Vec<KeyProgress> {
        let signed = self.handle.read(keys::signed);
        let silent: BTreeMap<usize, u64> = keys::silent_ms(&signed).into_iter().collect();
        let progress = |(at, key): (usize, keys::Signed)| KeyProgress {
            key: key.key,
            chain: key.chain,
            group: key.group,
            class: key.class,
            floor: key.floor,
            highest: key.highest,
            last_ms: key.last_ms,
            silent_ms: silent.get(&at).copied(),
        };
        signed.into_iter().enumerate().map(progress).collect()
    }

    /// The members besides this node, with their client URLs.
    pub fn others(&self) -> Vec<(NodeId, String)> {
        let own = self.handle.node();
        let others = self.members().into_iter().filter(|node| *node != own);
        others.filter_map(|node| Some((node, self.admin.gate.client_url(node)?))).collect()
    }

    /// Voters, and those who announced themselves.
    fn members(&self) -> Vec<NodeId> {
        let mut nodes = self.handle.status().voters;
        nodes.extend(self.handle.read(|state| state.members().map(|member| member.node).collect::<Vec<_>>()));
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Asks every member.
    pub async fn overview(&self) -> Overview {
        let voters = self.handle.status().voters;
        let own = self.handle.node();
        let asked = self.members().into_iter().map(|node| {
            let voters = &voters;
            async move {
                let mut view = NodeView {
                    node,
                    url: None,
                    voter: voters.contains(&node),
                    took_ms: 0,
                    clock_offset_ms: None,
                    report: None,
                    error: None,
                };
                if node == own {
                    view.report = Some(self.report());
                    return view;
                }
                view.url = self.admin.gate.client_url(node);
                let asked = self.ask::<NodeReport>(view.url.as_deref(), "node_report").await;
                match asked {
                    Ok(Answered { answer, took, asked_ms }) => {
                        view.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                        view.clock_offset_ms = Some(offset_ms(answer.status.time_ms, asked_ms, took));
                        view.report = Some(answer);
                    }
                    Err(why) => view.error = Some(why),
                }
                view
            }
        });
        let nodes = futures::future::join_all(asked).await;
        Overview { asked_by: own, time_ms: unix_ms(), nodes }
    }

    /// Asks another member one question.
    async fn ask<R: DeserializeOwned>(&self, url: Option<&str>, method: &str) -> Result<Answered<R>, String> {
        let url = url.ok_or("it has not said where it can be reached")?.replacen("wss://", "https://", 1);
        let client = AdminClient::https_with(&url, &self.admin.live_tls.client())
            .map_err(|error| error.to_string())?;
        let (started, asked_ms) = (Instant::now(), unix_ms());
        let answer = tokio::time::timeout(PATIENCE, client.call::<_, R>(method, &json!({}))).await;
        let answer = answer.map_err(|_| format!("{url} does not answer in {} s", PATIENCE.as_secs()))?;
        let answer = answer.map_err(|error| match error {
            CallError::Unreachable { why, .. } => format!("{url}: {why}"),
            other => other.to_string(),
        })?;
        Ok(Answered { answer, took: started.elapsed(), asked_ms })
    }

    /// Whether a certificate is another member's.
    fn is_member(&self, names: &DnsNames) -> bool {
        let Some(cluster) = self.cluster else { return false };
        self.members().into_iter().any(|node| names.0.contains(&node_name(&cluster, node)))
    }

    fn check(&self, extensions: &Extensions) -> Result<(), AdminError> {
        let known = extensions.get::<DnsNames>().is_some_and(|names| self.is_member(names));
        let why = "only members of this cluster are told, by the names in their certificates";
        if known { Ok(()) } else { Err(AdminError::new(AdminErrorCode::Forbidden, why)) }
    }
}

/// An answer, and when it was asked for.
struct Answered<R> {
    answer: R,
    took: Duration,
    asked_ms: u64,
}

/// The other clock minus ours, assuming that the answer was made half-way.
fn offset_ms(theirs_ms: u64, asked_ms: u64, took: Duration) -> i64 {
    let half_way = i128::from(asked_ms) + i128::try_from(took.as_millis() / 2).unwrap_or(0);
    i64::try_from(i128::from(theirs_ms) - half_way).unwrap_or(i64::MAX)
}

/// The methods that members ask each other, for the client port.
pub fn node_module(overseer: Arc<Overseer>) -> RpcModule<Reports> {
    NodeApiServer::into_rpc(Reports(overseer))
}

/// The method for operators, for the admin port and socket.
pub fn overview_module(overseer: Arc<Overseer>) -> RpcModule<Reports> {
    OverviewApiServer::into_rpc(Reports(overseer))
}

/// Answers other members and operators.
pub struct Reports(Arc<Overseer>);

#[async_trait]
impl OverviewApiServer for Reports {
    async fn overview(&self, extensions: &Extensions) -> Result<Overview, AdminError> {
        self.0.handle.read(|state| roles::authorize(state, extensions, Method::Overview))?;
        Ok(self.0.overview().await)
    }
}

#[async_trait]
impl NodeApiServer for Reports {
    async fn report(&self, extensions: &Extensions) -> Result<NodeReport, AdminError> {
        self.0.check(extensions)?;
        Ok(self.0.report())
    }

    async fn time(&self, extensions: &Extensions) -> Result<u64, AdminError> {
        self.0.check(extensions)?;
        Ok(unix_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        assert_eq!(offset_ms(1_050, 1_000, Duration::from_millis(100)), 0);
        assert_eq!(offset_ms(900, 1_000, Duration::from_millis(100)), -150);
    }
}
