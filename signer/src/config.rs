//! `signonce.toml`: what a node is told about itself, its cluster and its listeners.
//!
//! [`Config::load`] merges three layers, later ones win: the file, the environment (`SIGNONCE_<SECTION>_<KEY>` for
//! every setting) and overrides from the command line (`section.key=value`). It is checked as a whole before anything
//! starts: an unknown name is an error that says the nearest known one. Relative paths are taken from the directory
//! of the file (or the working directory when there is no file).

use serde::Deserialize;
use signonce_protocol::NodeId;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the configuration is read from when neither `--config` nor `SIGNONCE_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/signonce/signonce.toml";

/// The file in the data directory that holds the node's sealed identity.
pub const IDENTITY_FILE: &str = "identity.age";

/// How a value from the environment or the command line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As it stands.
    Text,
    /// As a TOML value: numbers, arrays.
    Toml,
}

/// Every setting: section, name, and how its text form is read. Files, environment and overrides are checked
/// against this table, and a test checks it against the structs below.
const SETTINGS: &[(&str, &str, Kind)] = &[
    ("node", "id", Kind::Toml),
    ("node", "data_dir", Kind::Text),
    ("node", "unlock_file", Kind::Text),
    ("cluster", "id", Kind::Text),
    ("cluster", "members", Kind::Toml),
    ("listen", "peer", Kind::Text),
    ("listen", "client", Kind::Text),
    ("listen", "admin", Kind::Text),
    ("listen", "admin_socket", Kind::Text),
    ("listen", "metrics", Kind::Text),
    ("tls", "ca", Kind::Text),
    ("tls", "cert", Kind::Text),
    ("tls", "key", Kind::Text),
    ("limits", "request_timeout_ms", Kind::Toml),
    ("limits", "slot_tolerance", Kind::Toml),
    ("limits", "log_bytes_max", Kind::Toml),
    ("limits", "connections_max", Kind::Toml),
    ("limits", "drain_ms", Kind::Toml),
    ("limits", "tick_ms", Kind::Toml),
    ("log", "format", Kind::Text),
    ("log", "level", Kind::Text),
];

/// The names a `[[cluster.members]]` table may have.
const MEMBER_SETTINGS: &[&str] = &["id", "peer", "client_url"];

/// The whole configuration of a node. Checked: see [`Config::load`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: NodeSection,
    /// The cluster it belongs to.
    pub cluster: ClusterSection,
    /// Where it listens.
    #[serde(default)]
    pub listen: ListenSection,
    /// Its certificate and who it trusts.
    pub tls: TlsFiles,
    /// Deadlines and bounds.
    #[serde(default)]
    pub limits: LimitsSection,
    /// How it logs.
    #[serde(default)]
    pub log: LogSection,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// The node's id: one of the members', never used by another machine before.
    pub id: NodeId,
    /// Where the store, the node's identity files and, by default, the admin socket are.
    pub data_dir: PathBuf,
    /// The passphrase of the node's sealed identity. Without it the credential `signonce-unlock` is read from
    /// `$CREDENTIALS_DIRECTORY`.
    #[serde(default)]
    pub unlock_file: Option<PathBuf>,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// The cluster's id: 32 hex digits, made once by `signonce init`.
    pub id: String,
    /// Every member, this node included.
    pub members: Vec<MemberSection>,
}

/// One of `[[cluster.members]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSection {
    /// The member.
    pub id: NodeId,
    /// Where the other members reach it: `host:port`.
    pub peer: String,
    /// Where clients reach it: `https://host:port`.
    pub client_url: String,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// For the other members.
    pub peer: SocketAddr,
    /// For clients: HTTPS and WSS.
    pub client: SocketAddr,
    /// For operators: HTTPS with an admin certificate.
    pub admin: SocketAddr,
    /// For operators on this machine: a unix socket, by default `admin.sock` in the data directory.
    pub admin_socket: Option<PathBuf>,
    /// `/livez`, `/readyz` and `/metrics`, plain HTTP: loopback unless the network is trusted.
    pub metrics: SocketAddr,
}

impl Default for ListenSection {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            peer: any(7300),
            client: any(7301),
            admin: here(7302),
            admin_socket: None,
            metrics: here(7303),
        }
    }
}

/// `[tls]`: also what the CLI gives to reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM: the authorities whose certificates are accepted from members, clients and admins.
    pub ca: PathBuf,
    /// PEM: this node's certificate, with its chain.
    pub cert: PathBuf,
    /// PEM: the private key of that certificate.
    pub key: PathBuf,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// How long a request waits for the cluster before the answer is `unknownOutcome`.
    pub request_timeout_ms: u64,
    /// How many slots a slot may be from this node's clock, both ways.
    pub slot_tolerance: u64,
    /// Log bytes kept for followers that lag; a follower further behind takes a snapshot.
    pub log_bytes_max: usize,
    /// The most client connections at a time; as many again for admins never wait behind them.
    pub connections_max: u32,
    /// How long a stopping node waits for requests in flight.
    pub drain_ms: u64,
    /// The raft tick. Ten ticks without a leader, at least, start an election.
    pub tick_ms: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            request_timeout_ms: 2_000,
            slot_tolerance: 3,
            log_bytes_max: 64 << 20,
            connections_max: 1_024,
            drain_ms: 10_000,
            tick_ms: 50,
        }
    }
}

impl LimitsSection {
    /// The request timeout.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// The drain time.
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// The raft tick.
    pub const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
    /// A level (`info`), or directives per module (`info,signonce_cluster=debug`).
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why a configuration is not used. Every message names the setting and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {path}: {source}; write one with `signonce init`, or give --config"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("the configuration ({origin}) is not valid: {why}")]
    Invalid {
        /// File, environment variable or override.
        origin: String,
        /// What the parser says.
        why: String,
    },
    /// A name that is no setting.
    #[error("there is no setting {name:?}{}", .nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n:?}?")))]
    Unknown {
        /// The name as written, with its section.
        name: String,
        /// The nearest known one, if any is near.
        nearest: Option<String>,
    },
    /// Two members with one id.
    #[error("two members have the id {0}: node ids are never shared and never reused")]
    TwoMembersWithOneId(NodeId),
    /// Zero is no node id.
    #[error("0 is no node id: ids start at 1")]
    ZeroNode,
    /// Two members at one address.
    #[error("two members have the address {0:?}")]
    TwoMembersAtOneAddress(String),
    /// This node is none of the members.
    #[error("node.id is {node}, but cluster.members has only {members}")]
    NotAMember {
        /// This node.
        node: NodeId,
        /// The ids of the members.
        members: String,
    },
    /// A value that cannot work.
    #[error("{setting} is {value}: {hint}")]
    Value {
        /// The setting.
        setting: String,
        /// What it is.
        value: String,
        /// What it must be.
        hint: &'static str,
    },
}

/// A configuration, and what in its surroundings looks like a mistake without being one for sure.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Environment variables that look like settings and are none. Not an error: Kubernetes sets variables named
    /// after services.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `file` (if any), then `environment`, then `overrides` (`("section.key", "value")`), and checks all.
    ///
    /// # Errors
    /// The first [`ConfigError`] met.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let mut table = match file {
            Some(path) => read_file(path)?,
            None => toml::Table::new(),
        };
        check_names(&table)?;
        let warnings = overlay_environment(&mut table, environment)?;
        for (name, value) in overrides {
            let Some((section, key, kind)) = SETTINGS.iter().find(|(s, k, _)| format!("{s}.{k}") == *name)
            else {
                return Err(unknown(name));
            };
            set(&mut table, section, key, read_value(name, value, *kind)?);
        }
        check_names(&table)?;
        let origin =
            file.map_or_else(|| "environment and flags".to_owned(), |path| path.display().to_string());
        let mut config: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Invalid { origin, why: e.to_string() })?;
        let base = file.and_then(Path::parent).map_or_else(PathBuf::new, Path::to_path_buf);
        config.resolve_paths(&base);
        config.check()?;
        Ok(Loaded { config, warnings })
    }

    /// This node among the members.
    ///
    /// # Panics
    /// Never for a loaded configuration: [`Self::load`] has checked that it is there.
    pub fn this_member(&self) -> &MemberSection {
        let own = self.cluster.members.iter().find(|member| member.id == self.node.id);
        own.expect("a loaded configuration has this node among its members")
    }

    /// The file with the node's sealed identity.
    pub fn identity_file(&self) -> PathBuf {
        self.node.data_dir.join(IDENTITY_FILE)
    }

    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.listen.admin_socket.clone().unwrap_or_else(|| self.node.data_dir.join("admin.sock"))
    }

    fn resolve_paths(&mut self, base: &Path) {
        let Self { node, listen, tls, cluster: _, limits: _, log: _ } = self;
        let optional = [&mut node.unlock_file, &mut listen.admin_socket];
        let required = [&mut node.data_dir, &mut tls.ca, &mut tls.cert, &mut tls.key];
        for path in optional.into_iter().flatten().chain(required) {
            *path = base.join(&*path);
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for member in &self.cluster.members {
            if member.id.0 == 0 {
                return Err(ConfigError::ZeroNode);
            }
            if !ids.insert(member.id) {
                return Err(ConfigError::TwoMembersWithOneId(member.id));
            }
            for address in [&member.peer, &member.client_url] {
                if !addresses.insert(address.as_str()) {
                    return Err(ConfigError::TwoMembersAtOneAddress(address.clone()));
                }
            }
            check_member(member)?;
        }
        if !ids.contains(&self.node.id) {
            let members = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::NotAMember { node: self.node.id, members });
        }
        self.check_values()
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let positive = "it must be at least 1";
        for (setting, value) in [
            ("limits.request_timeout_ms", limits.request_timeout_ms),
            ("limits.connections_max", limits.connections_max.into()),
            ("limits.tick_ms", limits.tick_ms),
            ("limits.log_bytes_max", limits.log_bytes_max as u64),
        ] {
            if value == 0 {
                return Err(ConfigError::Value {
                    setting: setting.into(),
                    value: "0".into(),
                    hint: positive,
                });
            }
        }
        let id = &self.cluster.id;
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ConfigError::Value {
                setting: "cluster.id".into(),
                value: format!("{id:?}"),
                hint: "a cluster id is the 32 hex digits that `signonce init` made",
            });
        }
        Ok(())
    }
}

fn check_member(member: &MemberSection) -> Result<(), ConfigError> {
    let wrong = |name: &str, value: &str, hint| ConfigError::Value {
        setting: format!("cluster.members[id={}].{name}", member.id),
        value: format!("{value:?}"),
        hint,
    };
    let port =
        member.peer.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse());
    if !matches!(port, Some(Ok(1u16..))) {
        return Err(wrong("peer", &member.peer, "it must be host:port"));
    }
    let host =
        member.client_url.strip_prefix("https://").or_else(|| member.client_url.strip_prefix("wss://"));
    if host.is_none_or(str::is_empty) {
        return Err(wrong("client_url", &member.client_url, "it must be https://host:port"));
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    text.parse().map_err(|e: toml::de::Error| ConfigError::Invalid {
        origin: path.display().to_string(),
        why: e.to_string(),
    })
}

/// Unknown sections and names, before serde sees them: its message has no nearest name.
fn check_names(table: &toml::Table) -> Result<(), ConfigError> {
    for (section, content) in table {
        if !SETTINGS.iter().any(|(known, _, _)| known == section) {
            return Err(unknown(section));
        }
        let toml::Value::Table(content) = content else { continue };
        for (key, value) in content {
            let name = format!("{section}.{key}");
            if !SETTINGS.iter().any(|(s, k, _)| s == section && k == key) {
                return Err(unknown(&name));
            }
            if name == "cluster.members" {
                check_member_names(value)?;
            }
        }
    }
    Ok(())
}

fn check_member_names(members: &toml::Value) -> Result<(), ConfigError> {
    let tables = members.as_array().into_iter().flatten().filter_map(toml::Value::as_table);
    match tables.flat_map(toml::Table::keys).find(|key| !MEMBER_SETTINGS.contains(&key.as_str())) {
        Some(key) => Err(ConfigError::Unknown {
            name: format!("cluster.members.{key}"),
            nearest: nearest(key, MEMBER_SETTINGS.iter().map(|k| (*k).to_owned()))
                .map(|near| format!("cluster.members.{near}")),
        }),
        None => Ok(()),
    }
}

fn unknown(name: &str) -> ConfigError {
    let sections = SETTINGS.iter().map(|(section, _, _)| (*section).to_owned());
    let names = SETTINGS.iter().map(|(section, key, _)| format!("{section}.{key}"));
    let nearest = if name.contains('.') { nearest(name, names) } else { nearest(name, sections) };
    ConfigError::Unknown { name: name.to_owned(), nearest }
}

/// The candidate that `name` is most likely a typo of.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let distance = |candidate: &String| strsim::damerau_levenshtein(name, candidate);
    candidates.map(|c| (distance(&c), c)).min().filter(|(d, _)| *d <= 1 + name.len() / 3).map(|(_, c)| c)
}

fn variable(section: &str, key: &str) -> String {
    format!("SIGNONCE_{section}_{key}").to_uppercase()
}

/// Puts the variables that are settings into `table`; returns warnings about those that only look like it.
fn overlay_environment(
    table: &mut toml::Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    for (name, value) in environment {
        let found = SETTINGS.iter().find(|(section, key, _)| variable(section, key) == name);
        if let Some((section, key, kind)) = found {
            set(table, section, key, read_value(&name, &value, *kind)?);
        } else if SETTINGS.iter().any(|(section, _, _)| name.starts_with(&variable(section, ""))) {
            let near = nearest(&name, SETTINGS.iter().map(|(section, key, _)| variable(section, key)));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            warnings.push(format!("the environment variable {name} is no setting{hint}"));
        }
    }
    Ok(warnings)
}

fn read_value(origin: &str, text: &str, kind: Kind) -> Result<toml::Value, ConfigError> {
    if kind == Kind::Text {
        return Ok(toml::Value::String(text.to_owned()));
    }
    let mut table: toml::Table = format!("value = {text}")
        .parse()
        .map_err(|e: toml::de::Error| ConfigError::Invalid { origin: origin.into(), why: e.to_string() })?;
    match (table.remove("value"), table.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => {
            Err(ConfigError::Invalid { origin: origin.into(), why: "one value, and nothing after it".into() })
        }
    }
}

fn set(table: &mut toml::Table, section: &str, key: &str, value: toml::Value) {
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        section.insert(key.into(), value);
    }
}

#[cfg(test)]
mod tests;
