//! The layers of a configuration (file, environment, overrides) and the names they may use.

use super::{Config, ConfigError};
use std::path::{Path, PathBuf};

/// How the text of a value from the environment or the command line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Text,
    /// As a TOML value: numbers, arrays.
    Toml,
}

/// Every setting: section, name, and how its text form is read. Files, environment and overrides are checked
/// against this table, and a test checks it against the structs below.
pub(super) const SETTINGS: &[(&str, &str, Kind)] = &[
    ("node", "id", Kind::Toml),
    ("node", "data_dir", Kind::Text),
    ("node", "unlock_file", Kind::Text),
    ("node", "zone", Kind::Text),
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
    ("limits", "leader_moves_after_ms", Kind::Toml),
    ("log", "format", Kind::Text),
    ("log", "level", Kind::Text),
    ("backup", "dir", Kind::Text),
    ("backup", "every", Kind::Text),
    ("backup", "keep", Kind::Toml),
    ("telemetry", "otlp", Kind::Text),
    ("audit", "keep_days", Kind::Toml),
    ("audit", "keep_records", Kind::Toml),
    ("audit", "sign_secs", Kind::Toml),
];

/// The names a `[[cluster.members]]` table may have.
const MEMBER_SETTINGS: &[&str] = &["id", "peer", "client_url"];

/// A configuration, with warnings about things around it that are probably mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Environment variables that look like settings but are not. They are no errors: Kubernetes sets variables named
    /// after services.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `file` (if any), then `environment`, then `overrides` (`("section.key", "value")`), and checks all.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
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
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    text.parse().map_err(|e: toml::de::Error| ConfigError::Invalid {
        origin: path.display().to_string(),
        why: e.to_string(),
    })
}

/// Checks for unknown sections and names before serde sees them: its message suggests no nearest name.
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

/// Puts the variables that are settings into `table`; returns warnings about those that only look like settings.
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
