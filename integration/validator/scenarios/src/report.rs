//! What a scenario saw: facts, and checks that held or did not.

use serde_json::{Map, Value, json};
use std::{fmt::Write as _, path::Path, time::Duration};

/// The outcome of a scenario. Without checks it has not held.
#[derive(Debug, Default)]
pub struct Report {
    scenario: String,
    seconds: f64,
    facts: Vec<(String, Value)>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    what: String,
    held: bool,
    seen: String,
}

impl Report {
    /// Of a scenario that could not be played to its end.
    pub fn failed(why: &str) -> Self {
        let mut report = Self::default();
        report.check("the scenario was played to its end", false, why);
        report
    }

    /// Something measured or counted.
    pub fn fact(&mut self, what: impl Into<String>, value: impl Into<Value>) {
        self.facts.push((what.into(), value.into()));
    }

    /// A time, in seconds to the millisecond.
    pub fn time(&mut self, what: impl Into<String>, time: Duration) {
        self.fact(format!("{}, seconds", what.into()), (time.as_secs_f64() * 1_000.0).round() / 1_000.0);
    }

    /// Something that had to hold, and what was seen.
    pub fn check(&mut self, what: impl Into<String>, held: bool, seen: impl Into<String>) {
        self.checks.push(Check { what: what.into(), held, seen: seen.into() });
    }

    /// Something that had to come about within its time.
    pub fn check_result<T>(&mut self, what: impl Into<String>, outcome: anyhow::Result<T>) -> Option<T> {
        match outcome {
            Ok(found) => {
                self.check(what, true, "");
                Some(found)
            }
            Err(why) => {
                self.check(what, false, format!("{why:#}"));
                None
            }
        }
    }

    /// Whether everything held.
    pub fn ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.held)
    }

    /// Which scenario it was, and how long it took.
    pub fn finish(&mut self, scenario: &str, took: Duration) {
        self.scenario = scenario.to_owned();
        self.seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
    }

    /// For people. `kept` is where logs and data are.
    pub fn text(&self, kept: Option<&Path>) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        for (what, value) in &self.facts {
            line(format!("  {what}: {}", shown(value)));
        }
        for Check { what, held, seen } in &self.checks {
            let mark = if *held { "ok  " } else { "FAIL" };
            let seen = if seen.is_empty() { String::new() } else { format!(": {seen}") };
            line(format!("{mark} {what}{seen}"));
        }
        if let Some(kept) = kept {
            line(format!("logs and data: {}", kept.display()));
        }
        let verdict = if self.ok() { "held" } else { "DID NOT HOLD" };
        line(format!("{}: {verdict}, {} s", self.scenario, self.seconds));
        text
    }

    /// For machines.
    pub fn json(&self, kept: Option<&Path>) -> Value {
        let facts: Map<String, Value> = self.facts.iter().cloned().collect();
        let checks = self.checks.iter();
        let checks =
            checks.map(|c| json!({ "what": c.what, "held": c.held, "seen": c.seen })).collect::<Vec<_>>();
        json!({
            "scenario": self.scenario, "ok": self.ok(), "seconds": self.seconds, "facts": facts, "checks": checks,
            "kept": kept,
        })
    }
}

/// A text without quotes, an object line by line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| format!("\n    {name}: {}", on_one_line(value))).collect()
        }
        other => other.to_string(),
    }
}

/// What is in the lines of a fact.
fn on_one_line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<_> =
                map.iter().map(|(name, value)| format!("{name} {}", on_one_line(value))).collect();
            parts.join(", ")
        }
        other => shown(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_checks_has_not_held() {
        let mut report = Report::default();
        report.fact("blocks", 5);
        assert!(!report.ok());
        report.check("blocks are authored", true, "5");
        assert!(report.ok());
        assert_eq!(report.check_result("finality", anyhow::Ok(7)), Some(7));
        assert_eq!(report.check_result::<()>("more", Err(anyhow::anyhow!("too late"))), None);
        assert!(!report.ok());
        report.finish("test", Duration::from_millis(1_240));
        let text = report.text(Some(Path::new("/kept")));
        for part in
            ["FAIL more: too late", "ok   finality", "blocks: 5", "/kept", "test: DID NOT HOLD, 1.2 s"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(report.json(None)["checks"][2]["held"], false);
    }
}
