//! Whether the signers serve, judged by the outcome of requests, and the tasks on the I/O thread that keep this known:
//! one follows the keys, one asks for a signer's status when a request had no answer, one keeps a connection to every
//! signer.

use crate::{
    LOG,
    ask::{Events, Signers},
    cache::Keys,
    metrics::Metrics,
    remembered::KeyFile,
    report::{Condition, Report, advice},
};
use signonce_protocol::client::ClientError;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long a signer may take to report its status. Longer than a slow signer takes for an answer, so that slow and
/// away can be told apart.
const PROBE_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two questions while no signer serves.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long no signer must have served before requests are no longer made: longer than an election, during which a
/// waiting request is answered.
const OUTAGE: Duration = Duration::from_secs(2);
/// How many requests in a row without a timely answer, while the signers are reachable, make them count as slow.
const SLOW_AFTER: u32 = 3;
/// An answer within this time shows that the signers are not slow.
const QUICK: Duration = crate::ask::VRF_WITHIN;
/// How often the connections to all signers are checked.
const CONNECT_EVERY: Duration = Duration::from_secs(10);
/// Pause between two writes of the list of keys.
const LIST_WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// Pause after the list of keys could not be fetched.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// The state of the connection. Shared by requests and tasks.
pub(crate) struct Link {
    metrics: Metrics,
    report: Arc<Report>,
    /// Since when no signer has served.
    down: Mutex<Option<Instant>>,
    /// How many outages are over.
    outages: AtomicU64,
    /// How many requests in a row had no timely answer.
    misses: AtomicU32,
    doubt: Notify,
    preferred: Mutex<String>,
}

impl Link {
    /// The state is unknown at first: the first result is always logged.
    pub(crate) fn new(metrics: Metrics, report: Arc<Report>, preferred: String) -> Arc<Self> {
        let link = Self {
            metrics,
            report,
            down: Mutex::new(None),
            outages: AtomicU64::new(0),
            misses: AtomicU32::new(0),
            doubt: Notify::new(),
            preferred: Mutex::new(preferred),
        };
        link.doubt.notify_one();
        Arc::new(link)
    }

    /// Whether no signer served at the last report.
    pub(crate) fn is_down(&self) -> bool {
        self.down_since().is_some()
    }

    /// Whether that has lasted longer than an election of the signers, so that waiting for an answer is pointless.
    pub(crate) fn is_out(&self) -> bool {
        self.down_since().is_some_and(|since| since.elapsed() >= OUTAGE)
    }

    fn down_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many outages are over.
    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Ordering::SeqCst)
    }

    /// Records that a signer answered a request after this time, even with a refusal. `preferred` is asked first from
    /// now on.
    pub(crate) fn answered(&self, after: Duration, preferred: String) {
        if after <= QUICK {
            self.misses.store(0, Ordering::SeqCst);
            self.report.end(&Condition::Slow, || "the signers answer in time again".into());
        }
        if after <= PROBE_WITHIN {
            self.up();
        }
        let mut known = self.preferred();
        if *known != preferred {
            log::info!(target: LOG, "{preferred} is the signer asked first now, no longer {known}");
            self.metrics.failover();
            *known = preferred;
        }
    }

    /// Records that a request had no answer in time.
    pub(crate) fn missed(&self) {
        self.misses.fetch_add(1, Ordering::SeqCst);
        self.doubt.notify_one();
    }

    fn preferred(&self) -> MutexGuard<'_, String> {
        self.preferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) {
        if self.down_since().take().is_some() {
            self.misses.store(0, Ordering::SeqCst);
            self.outages.fetch_add(1, Ordering::SeqCst);
        }
        self.metrics.connected(true);
        self.report.end(&Condition::Down, || "the signers serve again".into());
    }

    /// Records that no signer has served since then.
    fn down(&self, since: Instant, why: &str) {
        self.down_since().get_or_insert(since);
        self.metrics.connected(false);
        self.report.begin(Condition::Down, || {
            format!("no signer serves: {why}{}. The node goes on without signing until one does", advice(why))
        });
    }

    /// Records that the signers are reachable although requests miss their deadlines.
    fn there(&self) {
        self.up();
        if self.misses.load(Ordering::SeqCst) >= SLOW_AFTER {
            self.report.begin(Condition::Slow, || {
                "the signers are there but answer too late; blocks and votes are lost meanwhile. Look at the load and \
                 the disks of the signers and at the network between"
                    .into()
            });
        }
    }
}

/// Asks for the signers' status whenever it is in doubt.
pub(crate) async fn probe(signers: Arc<dyn Signers>, link: Arc<Link>) {
    loop {
        link.doubt.notified().await;
        loop {
            let begun = Instant::now();
            match look(&*signers).await {
                Ok(()) => break link.there(),
                Err(why) => link.down(begun, &why),
            }
            tokio::time::sleep(PROBE_EVERY).await;
            if !link.is_down() {
                // A request succeeded in the meantime.
                break;
            }
        }
    }
}

/// The status of the signers; the error is why none serves. Whether one can be connected to is checked first, as that
/// is quick.
async fn look(signers: &dyn Signers) -> Result<(), String> {
    let (all, failed) = signers.connect().await;
    if let Some((url, why)) = failed.first().filter(|_| failed.len() == all) {
        return Err(format!("{url}: {why}"));
    }
    match signers.ready(PROBE_WITHIN).await {
        Ok(readiness) if readiness.ready => Ok(()),
        Ok(readiness) => Err(readiness.reasons.join("; ")),
        Err(error) => Err(reason(&error)),
    }
}

/// What a failed request says about the signers, without how long it was tried.
fn reason(error: &ClientError) -> String {
    match error {
        ClientError::NotReady { after: _, url, why } | ClientError::UnknownOutcome { after: _, url, why } => {
            format!("{url}: {why}")
        }
        other => other.to_string(),
    }
}

/// Keeps the keys up to date with the signers' list.
pub(crate) async fn follow_keys(
    signers: Arc<dyn Signers>,
    keys: Arc<Keys>,
    link: Arc<Link>,
    report: Arc<Report>,
) {
    loop {
        let error = match signers.subscribe().await {
            Ok(events) => take_events(events, &keys, &report).await,
            Err(error) => error,
        };
        match &error {
            ClientError::NotReady { .. } | ClientError::UnknownOutcome { .. } => link.missed(),
            error => {
                report.begin(Condition::NoList, || {
                    format!("the signers do not list this node's keys: {error}")
                });
            }
        }
        tokio::time::sleep(LIST_AGAIN).await;
    }
}

async fn take_events(mut events: Box<dyn Events>, keys: &Keys, report: &Report) -> ClientError {
    loop {
        match events.next().await {
            Ok(event) => {
                keys.apply(event);
                report.end(&Condition::NoList, || "the signers list this node's keys".into());
            }
            Err(error) => return error,
        }
    }
}

/// Keeps a connection to every signer, so that the first failover needs no handshake, and logs which are away.
pub(crate) async fn keep_connected(signers: Arc<dyn Signers>, report: Arc<Report>, metrics: Metrics) {
    let mut away: Vec<String> = Vec::new();
    loop {
        let (all, failed) = signers.connect().await;
        tell_certificates(&*signers, &report, &metrics);
        metrics.signers_reachable(all.saturating_sub(failed.len()));
        if failed.len() == all {
            // One line says that none serves; one for each signer would hide it.
            tokio::time::sleep(CONNECT_EVERY).await;
            continue;
        }
        for url in away.iter().filter(|url| !failed.iter().any(|(failed, _)| failed == *url)) {
            report.end(&Condition::SignerAway(url.clone()), || format!("signer {url} can be reached again"));
        }
        for (url, why) in &failed {
            report.begin(Condition::SignerAway(url.clone()), || {
                format!("signer {url} cannot be reached: {why}{}", advice(why))
            });
        }
        away = failed.into_iter().map(|(url, _)| url).collect();
        tokio::time::sleep(CONNECT_EVERY).await;
    }
}

fn tell_certificates(signers: &dyn Signers, report: &Report, metrics: &Metrics) {
    let Some(status) = signers.certificates() else { return };
    metrics.certificates(&status);
    match &status.not_used {
        Some(why) => {
            report.begin(Condition::CertificateNotUsed, || {
                format!(
                    "the files of --remote-signer-cert, --remote-signer-key and --remote-signer-ca have changed, and what \
                     lies there is not used: {why}{}. The node goes on with the certificate it has",
                    advice(why)
                )
            });
        }
        None => {
            report.end(&Condition::CertificateNotUsed, || {
                "the certificate files are in use as they are".into()
            });
        }
    }
}

/// Keeps the file with the last list of keys up to date.
pub(crate) async fn keep_list(keys: Arc<Keys>, file: Arc<KeyFile>, report: Arc<Report>) {
    loop {
        keys.changed().await;
        let (list, to) = (keys.list(), file.clone());
        // On another thread, as the disk may be slow.
        let Ok(written) = tokio::task::spawn_blocking(move || to.write(&list)).await else { return };
        match written {
            Ok(()) => {
                report.end(&Condition::ListNotKept, || "the list of keys is kept on disk again".into());
            }
            Err(why) => {
                report.begin(Condition::ListNotKept, || {
                    format!(
                        "the list of this node's keys cannot be kept in {file}: {why}. After a start without signers the \
                         node will not know its keys until they are back"
                    )
                });
            }
        }
        tokio::time::sleep(LIST_WRITTEN_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> (Arc<Link>, Arc<Report>) {
        let report = Arc::new(Report::default());
        (Link::new(Metrics::new(None).unwrap(), report.clone(), "https://a".into()), report)
    }

    fn quick(link: &Link) {
        link.answered(Duration::from_millis(1), "https://a".into());
    }

    #[test]
    fn an_answer_to_a_request_says_that_signers_serve() {
        let (link, report) = link();
        link.down(Instant::now(), "no quorum");
        assert!(link.is_down() && report.holds(&Condition::Down));
        quick(&link);
        assert!(!link.is_down() && !report.holds(&Condition::Down));
    }

    #[test]
    fn an_election_is_no_outage_and_each_outage_is_counted_once() {
        let (link, _) = link();
        let now = Instant::now();
        link.down(now, "no leader");
        assert!(link.is_down() && !link.is_out());
        link.down(now.checked_sub(OUTAGE).unwrap(), "no leader");
        assert!(!link.is_out(), "the first time counts");
        quick(&link);
        quick(&link);
        assert_eq!(link.outages(), 1);
        link.down(now.checked_sub(OUTAGE).unwrap(), "no leader");
        assert!(link.is_out());
        quick(&link);
        assert!(!link.is_out() && !link.is_down());
        assert_eq!(link.outages(), 2);
    }

    #[test]
    fn signers_that_are_there_but_miss_deadlines_are_slow_until_one_answers_in_time() {
        let (link, report) = link();
        for _ in 0..SLOW_AFTER {
            link.there();
            assert!(!report.holds(&Condition::Slow));
            link.missed();
        }
        link.there();
        assert!(report.holds(&Condition::Slow));
        // A vote that took two seconds is an answer, but does not make them quick.
        link.answered(Duration::from_secs(2), "https://a".into());
        assert!(report.holds(&Condition::Slow) && !link.is_down());
        quick(&link);
        assert!(!report.holds(&Condition::Slow));
    }

    #[test]
    fn what_was_missed_while_no_signer_served_does_not_make_them_slow() {
        let (link, report) = link();
        for _ in 0..10 {
            link.missed();
        }
        link.down(Instant::now(), "no quorum");
        link.there();
        assert!(!report.holds(&Condition::Slow));
    }
}
