//! Replaces the pods of a StatefulSet after an upgrade, one at a time. The chart's job after an upgrade calls it.
//!
//! A signer that has restarted waits until the others have vouched for it, in a cluster of three both of them. So
//! replacing a pod while another is away stops all signing until that one is back. [`next`] is the whole rule: a pod is
//! replaced only while every other one is ready, so that at most one is away. Pods are evicted, not deleted, so that
//! the disruption budget also holds against whatever else empties machines at the same time.

use super::api::{ApiError, Eviction, KubeApi};
use serde_json::Value;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// The pause between two checks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a probe that answers late, or a pod that a drain has just moved, is tolerated.
const PATIENCE: Duration = Duration::from_secs(20);
/// Reasons for which a container waits that only another template or manual action can resolve.
const STUCK: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The pods to replace.
#[derive(Debug)]
pub struct Set<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The StatefulSet.
    pub name: &'a str,
    /// The ConfigMap whose `formed` says whether there is a cluster to keep together.
    pub state: &'a str,
    /// How long each pod may take to become ready again.
    pub timeout: Duration,
}

/// Why pods were not, or not all, replaced.
#[derive(Debug, thiserror::Error)]
pub enum RollOutError {
    /// The Kubernetes API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no such StatefulSet.
    #[error("there is no StatefulSet {0} in this namespace")]
    NoSet(String),
    /// A pod is away.
    #[error(
        "{away}. {replaced}, and no pod is replaced now: a signer that restarts while another is away waits for that one, \
         and all signing stops. Bring it back first: `kubectl describe pod {first}` says what it waits for, \
         `kubectl logs {first} -c signonce` the rest. If its volume is lost, replace the member \
         (docs/operate/kubernetes.md). Then upgrade again: what is new already stays as it is"
    )]
    Away {
        /// Which pods, and why.
        away: String,
        /// The first of those pods.
        first: String,
        /// What was done before.
        replaced: String,
    },
    /// The replaced pod does not become ready.
    #[error(
        "{pod} was replaced and is not ready after {seconds} s: {why}. {replaced}; the other pods run as before and none of \
         them is touched. `kubectl describe pod {pod}` says what it waits for, `kubectl logs {pod} -c signonce` the rest. \
         When it is ready, or the values are put right, upgrade again (or roll back): it goes on from here"
    )]
    NotBack {
        /// The pod.
        pod: String,
        /// How long it had.
        seconds: u64,
        /// Its state.
        why: String,
        /// What was done before.
        replaced: String,
    },
    /// The disruption budget never allowed it.
    #[error(
        "{pod} may not be evicted for {seconds} s: {why}. {replaced}. Is a machine being drained, or another pod away? \
         `kubectl get pdb` says what the budget sees; then upgrade again"
    )]
    Budget {
        /// The pod.
        pod: String,
        /// For how long it was tried.
        seconds: u64,
        /// The API's message.
        why: String,
        /// What was done before.
        replaced: String,
    },
    /// The controller makes something else.
    #[error(
        "{0} was replaced and is again not what the StatefulSet wants: is somebody changing it? Upgrade again"
    )]
    NotAsWanted(String),
}

/// A pod, by the API and its own readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The uid; none if there is no such pod.
    pub uid: Option<String>,
    /// Whether its template is the StatefulSet's present one.
    pub current: bool,
    /// Whether it is being deleted: its successor will have the wanted template.
    pub going: bool,
    /// Why it is away; `None` if it is ready.
    pub away: Option<String>,
    /// Whether it waits for another template or manual action.
    pub stuck: bool,
    /// Whether it leads.
    pub leads: bool,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Every pod is as wanted.
    Done,
    /// Replace this pod: all others are ready.
    Replace(&'a Pod),
    /// Replace this pod although others are away: there is no cluster yet.
    Unformed(&'a Pod),
    /// Refuse: these pods are away.
    Refuse(Vec<&'a Pod>),
}

/// The rule. When it lets a pod be replaced, every other pod is ready, or there has never been a cluster.
pub fn next(pods: &[Pod], formed: bool) -> Step<'_> {
    let away: Vec<&Pod> = pods.iter().filter(|pod| pod.away.is_some()).collect();
    let mut old: Vec<&Pod> =
        pods.iter().filter(|pod| !pod.current && pod.uid.is_some() && !pod.going).collect();
    // The leader last, so that there is one handover; the highest ordinal first, as a StatefulSet does.
    old.reverse();
    old.sort_by_key(|pod| pod.leads);
    let Some(first) = old.first() else { return Step::Done };
    match away.as_slice() {
        [] => Step::Replace(first),
        // It is away already: the new template may be what it needs.
        [alone] if !alone.current && alone.stuck => Step::Replace(alone),
        _ => match old.iter().find(|pod| pod.away.is_some()) {
            Some(pod) if !formed => Step::Unformed(pod),
            Some(_) | None => Step::Refuse(away),
        },
    }
}

/// Replaces outdated pods; returns the names of those it replaced, in order. `probe` asks a pod at its address whether
/// it is ready and whether it leads, since the API's information is some seconds old.
///
/// # Errors
/// Any [`RollOutError`]. In every case, at most one pod is away because of this.
pub async fn run(
    api: &KubeApi,
    set: &Set<'_>,
    probe: impl AsyncFn(&str) -> Result<bool, String>,
    say: impl Fn(&str),
) -> Result<Vec<String>, RollOutError> {
    let mut replaced = Vec::new();
    let mut since = Instant::now();
    loop {
        let (pods, formed) = look(api, set, &probe).await?;
        match next(&pods, formed) {
            Step::Done => break,
            Step::Replace(pod) | Step::Unformed(pod) if replaced.contains(&pod.name) => {
                return Err(RollOutError::NotAsWanted(pod.name.clone()));
            }
            Step::Replace(pod) => {
                say(&format!("replacing {}", pod.name));
                evict(api, set, pod, &replaced).await?;
                replaced.push(pod.name.clone());
                back(api, set, pod, &replaced, &probe).await?;
                say(&format!("{} is ready again", pod.name));
                since = Instant::now();
            }
            Step::Unformed(pod) => {
                say(&format!("replacing {}: there is no cluster yet", pod.name));
                let path = format!("/api/v1/namespaces/{}/pods/{}", set.namespace, pod.name);
                api.delete(&path, pod.uid.as_deref().unwrap_or_default()).await?;
                replaced.push(pod.name.clone());
                since = Instant::now();
            }
            Step::Refuse(away) => {
                if since.elapsed() > PATIENCE.min(set.timeout) {
                    return Err(refusal(&away, &replaced));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(replaced)
}

async fn evict(api: &KubeApi, set: &Set<'_>, pod: &Pod, replaced: &[String]) -> Result<(), RollOutError> {
    let until = Instant::now() + set.timeout;
    let uid = pod.uid.as_deref().unwrap_or_default();
    loop {
        match api.evict(set.namespace, &pod.name, uid).await? {
            Eviction::Goes => return Ok(()),
            Eviction::NotNow(why) if Instant::now() > until => {
                return Err(RollOutError::Budget {
                    pod: pod.name.clone(),
                    seconds: set.timeout.as_secs(),
                    why,
                    replaced: list(replaced),
                });
            }
            Eviction::NotNow(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Waits until the successor of this pod is ready.
async fn back(
    api: &KubeApi,
    set: &Set<'_>,
    old: &Pod,
    replaced: &[String],
    probe: &impl AsyncFn(&str) -> Result<bool, String>,
) -> Result<(), RollOutError> {
    let until = Instant::now() + set.timeout;
    loop {
        let (pods, _) = look(api, set, probe).await?;
        let Some(now) = pods.iter().find(|pod| pod.name == old.name) else { return Ok(()) };
        if now.away.is_none() && now.uid != old.uid {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(not_back(set, now, replaced));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn not_back(set: &Set<'_>, pod: &Pod, replaced: &[String]) -> RollOutError {
    RollOutError::NotBack {
        pod: pod.name.clone(),
        seconds: set.timeout.as_secs(),
        why: pod.away.clone().unwrap_or_else(|| "the old one has not gone".into()),
        replaced: list(replaced),
    }
}

fn refusal(away: &[&Pod], replaced: &[String]) -> RollOutError {
    let mut text = String::new();
    for pod in away {
        let between = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{between}{} is away: {}", pod.name, pod.away.as_deref().unwrap_or_default());
    }
    let first = away.first().map(|pod| pod.name.clone()).unwrap_or_default();
    RollOutError::Away { away: text, first, replaced: list(replaced) }
}

fn list(replaced: &[String]) -> String {
    match replaced {
        [] => "Nothing was replaced".into(),
        some => format!("Replaced so far: {}", some.join(", ")),
    }
}

/// All pods of the set, and whether the cluster has formed.
async fn look(
    api: &KubeApi,
    set: &Set<'_>,
    probe: &impl AsyncFn(&str) -> Result<bool, String>,
) -> Result<(Vec<Pod>, bool), RollOutError> {
    let core = format!("/api/v1/namespaces/{}", set.namespace);
    let path = format!("/apis/apps/v1/namespaces/{}/statefulsets/{}", set.namespace, set.name);
    let until = Instant::now() + set.timeout;
    let (revision, replicas) = loop {
        let found = api.get(&path).await?.ok_or_else(|| RollOutError::NoSet(set.name.to_owned()))?;
        if let Some(wanted) = wanted(&found) {
            break wanted;
        }
        if Instant::now() > until {
            let why = format!("the controller has not looked at the StatefulSet {} yet", set.name);
            return Err(RollOutError::Away { away: why, first: set.name.into(), replaced: list(&[]) });
        }
        tokio::time::sleep(PAUSE).await;
    };
    let state = api.get(&format!("{core}/configmaps/{}", set.state)).await?.unwrap_or_default();
    let mut pods = Vec::new();
    for ordinal in 0..replicas {
        let name = format!("{}-{ordinal}", set.name);
        let found = api.get(&format!("{core}/pods/{name}")).await?;
        let mut pod = read(name, found.as_ref(), &revision);
        let address = found.as_ref().and_then(|found| found["status"]["podIP"].as_str());
        if pod.away.is_none() {
            match probe(address.unwrap_or_default()).await {
                Ok(leads) => pod.leads = leads,
                Err(why) => pod.away = Some(why),
            }
        }
        pods.push(pod);
    }
    Ok((pods, state["data"]["formed"] == "true"))
}

/// The revision that pods should have, and how many there should be; `None` if the controller has not seen the newest.
fn wanted(set: &Value) -> Option<(String, u64)> {
    let seen = set["status"]["observedGeneration"].as_u64()?;
    let newest = set["metadata"]["generation"].as_u64()?;
    let revision = set["status"]["updateRevision"].as_str()?;
    (seen >= newest).then(|| (revision.to_owned(), set["spec"]["replicas"].as_u64().unwrap_or(1)))
}

fn read(name: String, found: Option<&Value>, revision: &str) -> Pod {
    let Some(found) = found else {
        let away = Some("it is not there".to_owned());
        return Pod { name, uid: None, current: false, going: false, away, stuck: false, leads: false };
    };
    let status = &found["status"];
    let containers = ["initContainerStatuses", "containerStatuses"];
    let mut waiting = containers.iter().flat_map(|kind| status[kind].as_array().into_iter().flatten());
    let stuck = waiting.find_map(|container| {
        let reason = container["state"]["waiting"]["reason"].as_str()?;
        STUCK.contains(&reason).then(|| reason.to_owned())
    });
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let going = !found["metadata"]["deletionTimestamp"].is_null();
    let away = if going {
        Some("it is being deleted".to_owned())
    } else if ready {
        None
    } else {
        let phase = status["phase"].as_str().unwrap_or("unknown");
        let why = stuck.clone().unwrap_or_else(|| unscheduled(status).unwrap_or_default());
        Some(format!("not ready ({phase}{}{why})", if why.is_empty() { "" } else { ", " }))
    };
    Pod {
        name,
        uid: found["metadata"]["uid"].as_str().map(str::to_owned),
        current: found["metadata"]["labels"]["controller-revision-hash"] == revision,
        going,
        away,
        stuck: stuck.is_some(),
        leads: false,
    }
}

/// Why no machine accepts the pod.
fn unscheduled(status: &Value) -> Option<String> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let found =
        conditions.find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
    found["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
#[path = "roll_out_tests.rs"]
mod tests;
