//! Draws a [`Frame`] as lines of text, and keeps them in place on a terminal.

use super::frame::{DutyRow, Frame, NodeRow, StageRow};
use crate::commands::{
    common::{stdout, table},
    status::{ago, bytes},
};
use signonce_shared::overview::KeyProgress;
use std::io::{self, Write as _};
use terminal_size::terminal_size;

/// The most keys shown; `signonce keys list` has them all.
const KEYS: usize = 20;
/// Columns between the two tables that stand side by side.
const GAP: usize = 4;

/// The drawing. `trouble` says why the last update failed.
pub(super) fn lines(frame: &Frame, trouble: Option<&str>) -> Vec<String> {
    let mut lines = vec![header(frame), String::new()];
    lines.extend(split(&nodes(&frame.nodes)));
    lines.push(String::new());
    lines.extend(beside(&split(&duties(&frame.duties)), &split(&stages(&frame.stages))));
    lines.extend([String::new(), refused(frame), String::new()]);
    lines.extend(split(&keys(&frame.keys, frame.time_ms)));
    if let Some(more) = frame.keys.len().checked_sub(KEYS + 1) {
        lines.push(format!("and {} more (`signonce keys list`)", more + 1));
    }
    lines.push(String::new());
    lines.extend(trouble.map(|why| format!("! not refreshed since: {why}")));
    lines.extend(frame.advice.iter().map(|advice| format!("! {advice}")));
    if trouble.is_none() && frame.advice.is_empty() {
        lines.push("All is well.".into());
    }
    lines
}

fn split(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Two blocks side by side.
fn beside(left: &[String], right: &[String]) -> Vec<String> {
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0) + GAP;
    let line = |nth: usize| {
        let of = |block: &[String]| block.get(nth).cloned().unwrap_or_default();
        format!("{:width$}{}", of(left), of(right)).trim_end().to_owned()
    };
    (0..left.len().max(right.len())).map(line).collect()
}

fn header(frame: &Frame) -> String {
    let leader = frame.leader.map_or_else(|| "NO LEADER".to_owned(), |node| format!("node {node} leads"));
    let signed = frame.duties.iter().map(|duty| duty.granted + duty.repeated + duty.free);
    let signed = signed.fold(0.0, |sum: f64, rate| sum + rate);
    format!("{leader}, term {} | {signed:.1} signatures a second", frame.term)
}

fn dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn nodes(nodes: &[NodeRow]) -> String {
    let row = |node: &NodeRow| {
        [
            node.node.to_string(),
            node.role.clone(),
            if node.ready { "yes" } else { "NO" }.to_owned(),
            dash(node.lag, |lag| lag.to_string()),
            format!("{:.1}", node.requests),
            dash(node.keys_open, |keys| keys.to_string()),
            dash(node.clock_offset_ms, |ms| format!("{ms:+} ms")),
            dash(node.disk_free, bytes),
        ]
    };
    let head = ["NODE", "ROLE", "READY", "LAG", "REQUESTS/S", "KEYS OPEN", "CLOCK", "DISK FREE"];
    table(head, nodes.iter().map(row))
}

fn duties(duties: &[DutyRow]) -> String {
    let rate = |rate: f64| if rate == 0.0 { "-".to_owned() } else { format!("{rate:.1}") };
    let row = |duty: &DutyRow| {
        [
            duty.class.clone(),
            rate(duty.granted + duty.free),
            rate(duty.repeated),
            rate(duty.refused),
            rate(duty.failed),
            duty.signed_in_all.to_string(),
        ]
    };
    table(["CLASS", "NEW/S", "AGAIN/S", "REFUSED/S", "FAILED/S", "SIGNED"], duties.iter().map(row))
}

fn refused(frame: &Frame) -> String {
    if frame.refusals.is_empty() {
        return "refused since the start: nothing".to_owned();
    }
    let codes = frame.refusals.iter().map(|(code, count)| format!("{code} {count}"));
    format!("refused since the start: {}", codes.collect::<Vec<_>>().join(", "))
}

fn stages(stages: &[StageRow]) -> String {
    let ms = |us: f64| format!("{:.3}", us / 1_000.0);
    let row = |stage: &StageRow| {
        [stage.stage.clone(), stage.count.to_string(), dash(stage.p50_us, ms), dash(stage.p99_us, ms)]
    };
    table(["STAGE", "COUNT", "P50 MS", "P99 MS"], stages.iter().map(row))
}

fn keys(keys: &[KeyProgress], now_ms: u64) -> String {
    let row = |key: &KeyProgress| {
        let when = dash(key.last_ms, |ms| format!("{} ago", ago(now_ms.saturating_sub(ms))));
        // Long enough to tell keys apart.
        let short = key.key.chars().take(21).collect();
        [short, key.group.clone(), key.chain.clone(), dash(key.highest, |at| at.to_string()), when]
    };
    table(["KEY", "OF", "CHAIN", "LAST DUTY", "SIGNED"], keys.iter().take(KEYS).map(row))
}

/// A terminal switched to its alternate screen, until this is dropped.
pub(super) struct Terminal(());

impl Terminal {
    /// Switches to the alternate screen and hides the cursor.
    pub(super) fn take() -> io::Result<Self> {
        write(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Self(()))
    }

    /// Draws over the previous drawing; what does not fit is cut off.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (width, height) = terminal_size().map_or((110, 40), |(width, height)| (width.0, height.0));
        let mut text = "\x1b[H".to_owned();
        let visible = lines.iter().take(usize::from(height.saturating_sub(1)));
        for line in visible {
            text.extend(line.chars().take(usize::from(width)));
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        write(text.as_bytes())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = write(b"\x1b[?25h\x1b[?1049l");
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = stdout();
    out.write_all(bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_beside_each_other_whatever_their_lengths() {
        let block = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let text = beside(&block(&["ab", "c"]), &block(&["1", "2", "3"]));
        assert_eq!(text, ["ab    1", "c     2", "      3"]);
    }
}
