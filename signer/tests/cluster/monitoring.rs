//! The files in `monitoring/`: every metric they name is exported, every alert is explained, and a real Prometheus and
//! a real Alertmanager, where they are installed, understand them and tell of a killed node.

use crate::{
    common::{World, free_address, get, until},
    seeing::{ask_everything, repository, table, two_validators, vote},
};
use axum::{Router, extract::State, routing::post};
use serde_json::Value;
use signonce_cli::dev::Signal;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// Every name of ours in a text that is no name of an alert.
fn metric_names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !word(c));
    let histograms = ["_bucket", "_sum", "_count"];
    let base =
        |name: &str| histograms.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned();
    words.filter(|name| name.starts_with("signonce_")).map(base).collect()
}

fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let query = move |target: Value| (title.clone(), target["expr"].as_str().unwrap().to_owned());
        targets.into_iter().map(query).collect::<Vec<_>>()
    };
    panels.iter().flat_map(targets).collect()
}

/// A query of the dashboard with its variables as they stand when it is opened: every cluster.
fn as_grafana_asks(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m");
    ["$cluster", "$namespace", "$service"].iter().fold(query, |query, name| query.replace(name, ".*"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("monitoring/dashboard.json")).unwrap()
}

/// The expressions of the rules.
fn expressions() -> String {
    let rules = read("monitoring/alerts.yaml");
    rules.lines().filter(|line| line.trim_start().starts_with("expr:")).collect::<Vec<_>>().join("\n")
}

fn alerts() -> Vec<String> {
    let rules = read("monitoring/alerts.yaml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_are_exported() {
    let known = table();
    let mut shown = metric_names(&expressions());
    assert!(shown.len() > 10, "{shown:?}");
    for (_, query) in queries(&dashboard()) {
        shown.extend(metric_names(&query));
    }
    let unknown: Vec<_> = shown.iter().filter(|name| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "not in docs/reference/metrics.md, and so not in /metrics: {unknown:?}");
}

#[test]
fn every_alert_has_its_section_and_its_tests() {
    let (page, tests) = (read("docs/operate/alerts.md"), read("monitoring/alerts_test.yaml"));
    let rules = read("monitoring/alerts.yaml");
    let alerts = alerts();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        assert!(page.contains(&format!("\n## {alert}\n")), "docs/operate/alerts.md has no section {alert}");
        let anchor = format!("runbook: docs/operate/alerts.md#{}", alert.to_lowercase());
        assert!(rules.contains(&format!("{anchor}\n")), "{alert} does not lead to its section");
        let fires = tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n"));
        let quiet = tests.contains(&format!("alertname: {alert}, exp_alerts: [] }}\n"));
        assert!(fires && quiet, "{alert} needs a case that fires and one that does not");
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix("## Signonce"));
    let gone: Vec<_> = sections.filter(|name| !alerts.contains(&format!("Signonce{name}"))).collect();
    assert!(gone.is_empty(), "sections of no alert: {gone:?}");
}

/// A program of the test, ended with it.
struct Program(Child);

impl Program {
    fn start(name: &str, arguments: &[String]) -> Self {
        let mut command = Command::new(name);
        Self(
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn missing() -> Vec<&'static str> {
    let absent = |name: &&str| {
        Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    ["promtool", "prometheus", "prometheus-alertmanager"].into_iter().filter(absent).collect()
}

/// What came over the webhook: names of alerts that fire.
type Delivered = Arc<Mutex<BTreeSet<String>>>;

/// Our receiver of notifications.
async fn webhook(address: SocketAddr) -> Delivered {
    let delivered = Delivered::default();
    let take = async |State(delivered): State<Delivered>, body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let alerts = body["alerts"].as_array().unwrap().iter().filter(|alert| alert["status"] == "firing");
        let names = alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned());
        delivered.lock().unwrap().extend(names);
    };
    let router = Router::new().route("/", post(take)).with_state(Arc::clone(&delivered));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    delivered
}

/// Prometheus with our rules, scraping `world` every second, and Alertmanager behind it.
fn start_both(world: &World, dir: &Path, [prometheus, alertmanager, hook]: [SocketAddr; 3]) -> [Program; 2] {
    fs::create_dir(dir).unwrap();
    let targets: Vec<String> = world
        .cluster
        .node_ids()
        .into_iter()
        .map(|node| format!("'{}'", world.cluster.metrics_address(node)))
        .collect();
    let mut config = String::from("global: { scrape_interval: 1s, evaluation_interval: 1s }\n");
    let rules = repository().join("monitoring/alerts.yaml").canonicalize().unwrap();
    let _ = write!(
        config,
        "rule_files: ['{}']\n\
         alerting: {{ alertmanagers: [ {{ static_configs: [ {{ targets: ['{alertmanager}'] }} ] }} ] }}\n\
         scrape_configs: [ {{ job_name: signonce, static_configs: [ {{ targets: [{}] }} ] }} ]\n",
        rules.display(),
        targets.join(", ")
    );
    fs::write(dir.join("prometheus.yml"), config).unwrap();
    let config = format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s }}\n\
         receivers: [ {{ name: hook, webhook_configs: [ {{ url: 'http://{hook}/' }} ] }} ]\n"
    );
    fs::write(dir.join("alertmanager.yml"), config).unwrap();
    let file = |option: &str, name: &str| format!("--{option}={}", dir.join(name).display());
    let alertmanager = [
        file("config.file", "alertmanager.yml"),
        file("storage.path", "alertmanager"),
        format!("--web.listen-address={alertmanager}"),
        "--cluster.listen-address=".into(),
    ];
    let prometheus = [
        file("config.file", "prometheus.yml"),
        file("storage.tsdb.path", "prometheus"),
        format!("--web.listen-address={prometheus}"),
    ];
    [Program::start("prometheus-alertmanager", &alertmanager), Program::start("prometheus", &prometheus)]
}

/// The number of series that a query finds now.
async fn ask(prometheus: SocketAddr, query: &str) -> Option<usize> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (status, body) = get(prometheus, &format!("/api/v1/query?query={encoded}")).await?;
    let body: Value = serde_json::from_str(&body).ok()?;
    assert_eq!((status, body["status"].as_str()), (200, Some("success")), "{query}: {body}");
    Some(body["data"]["result"].as_array().unwrap().len())
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(repository().join("monitoring"))
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and needs Prometheus and Alertmanager: make monitoring-test"]
async fn a_killed_node_is_told_of_through_prometheus_and_alertmanager() {
    let missing = missing();
    if !missing.is_empty() {
        eprintln!("skipped: {} not installed; scripts/setup.sh --monitoring does it", missing.join(", "));
        return;
    }
    promtool(&["check", "rules", "alerts.yaml"]);
    promtool(&["test", "rules", "alerts_test.yaml"]);

    let mut world = two_validators().await;
    let addresses = [free_address(), free_address(), free_address()];
    let [prometheus, _, hook] = addresses;
    let delivered = webhook(hook).await;
    let _both = start_both(&world, &world.scratch("monitoring"), addresses);
    let client = world.client("v1");
    until("all nodes are scraped", async || {
        (ask(prometheus, "signonce_ready == 1").await? == 3).then_some(())
    })
    .await;
    ask_everything(&world, &client).await;
    until("the refused equivocation is seen", async || {
        let query = r#"increase(signonce_requests_total{outcome="equivocation"}[1m]) > 0"#;
        (ask(prometheus, query).await? > 0).then_some(())
    })
    .await;

    for (round, (panel, query)) in (2..).zip(queries(&dashboard())) {
        let query = as_grafana_asks(&query);
        until(&format!("panel {panel:?} shows something: {query}"), async || {
            (ask(prometheus, &query).await? > 0).then_some(())
        })
        .await;
        vote(&world, &client, round).await;
    }

    let killed = world.cluster.node_ids()[2];
    world.cluster.signal(killed, Signal::Kill).unwrap();
    for alert in ["SignonceEquivocationRefused", "SignonceNodeDown", "SignonceQuorumAtRisk"] {
        until(&format!("{alert} is delivered"), async || {
            delivered.lock().unwrap().contains(alert).then_some(())
        })
        .await;
    }
    let unexpected = ["SignonceNoLeader", "SignonceQuarantined", "SignonceKeysLocked", "SignonceClockOff"];
    let told = delivered.lock().unwrap().clone();
    assert!(unexpected.iter().all(|alert| !told.contains(*alert)), "{told:?}");
}
