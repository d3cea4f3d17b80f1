//! The format of an audit export, and its verifier.
//!
//! JSON lines: a header, then records in order (or their hashes where an excerpt leaves them out, or a gap where the
//! node has none), then an end. After each record stands the chain hash, which the verifier computes again from the
//! record's own content; the nodes' signatures of the chain are records too. Nothing is needed but the file and, to
//! check the certificates, the authority's certificate.
//!
//! A record that does not follow from the ones before it ends the check: nothing after it proves anything. A signature
//! that is not good proves nothing but disproves nothing either: it is reported, and the check continues.

use super::{head, query::AuditLine, words};
use crate::node_signature::Authorities;
use serde::{Deserialize, Serialize};
use signonce_core::{AuditEvent, AuditRecord, AuditSignature, audit::chain_after};
use signonce_protocol::{Hash, NodeId};
use std::collections::{BTreeMap, VecDeque};

/// The version of the format.
const FORM: u32 = 1;
/// How many chain hashes are remembered to compare signatures with.
const REMEMBERED: usize = 1 << 20;
/// How many bad signatures are reported one by one; the rest are only counted.
const TOLD: usize = 100;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// The first line.
    Header(Header),
    /// A complete record.
    Record(RecordLine),
    /// A record that was left out: only its hash.
    Left(LeftLine),
    /// Records that the node does not have.
    Gap(GapLine),
    /// The last line.
    End(EndLine),
}

/// What the file is an export of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub signonce_audit: u32,
    /// The cluster's id.
    pub cluster: String,
    /// The node whose records these are.
    pub node: NodeId,
    /// When it was exported.
    pub exported: String,
    /// The number of the first record.
    pub from: u64,
    /// The chain hash before it.
    pub chain: Hash,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordLine {
    /// Its number.
    pub seq: u64,
    /// When, as readable text. Not part of the chain; `record` has it in milliseconds.
    pub time: String,
    /// The record in words, with names as they were at the export. Not part of the chain.
    pub says: String,
    /// The record.
    pub record: Box<AuditRecord>,
    /// The chain hash after it.
    pub chain: Hash,
}

/// A record that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeftLine {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The chain hash after it.
    pub chain: Hash,
}

/// Missing records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GapLine {
    /// The first missing number, and one past the last.
    pub missing: (u64, u64),
    /// The chain hash after them.
    pub chain: Hash,
}

/// The end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndLine {
    /// One past the last record's number.
    pub end: u64,
    /// The chain hash there.
    pub chain: Hash,
}

/// Writes an export, line by line.
pub struct Writer {
    next: u64,
    chain: Hash,
}

impl Writer {
    /// Starts an export from a node of a cluster, at a record that has `chain` before it.
    pub fn start(cluster: String, node: NodeId, exported_ms: u64, from: u64, chain: Hash) -> (Self, Line) {
        let exported = words::time(exported_ms);
        let header = Header { signonce_audit: FORM, cluster, node, exported, from, chain };
        (Self { next: from, chain }, Line::Header(header))
    }

    /// The export's lines for one line that a node gave.
    pub fn add(&mut self, line: AuditLine) -> Vec<Line> {
        let mut lines = Vec::new();
        if line.seq != self.next {
            lines.push(Line::Gap(GapLine { missing: (self.next, line.seq), chain: line.before }));
        }
        let Some(chain) = line.after() else { return lines };
        (self.next, self.chain) = (line.seq + 1, chain);
        match (line.record, line.hash) {
            (Some(record), _) => {
                let (seq, time) = (line.seq, words::time(record.time_ms));
                let says = line.says.unwrap_or_default();
                lines.push(Line::Record(RecordLine { seq, time, says, record, chain }));
            }
            (None, Some(hash)) => lines.push(Line::Left(LeftLine { seq: line.seq, hash, chain })),
            (None, None) => {}
        }
        lines
    }

    /// Ends the export with its last line.
    pub fn end(self) -> Line {
        Line::End(EndLine { end: self.next, chain: self.chain })
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A signature that proves nothing, though the records around it are sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BadSignature {
    /// The line, from 1.
    pub line: u64,
    /// The record's number.
    pub seq: u64,
    /// The node whose signature it is said to be.
    pub node: NodeId,
    /// What is wrong with it.
    pub why: String,
}

/// What an intact file shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// The first record's number.
    pub from: u64,
    /// One past the last record's number.
    pub next: u64,
    /// The chain hash there.
    pub chain: Hash,
    /// Records in the file.
    pub records: u64,
    /// Records of which the file has only the hash.
    pub left_out: u64,
    /// Records that are missing.
    pub missing: u64,
    /// For each node, how far and how often it has signed the chain in this file.
    pub signed: BTreeMap<NodeId, Signed>,
    /// Whether the certificates were checked against an authority.
    pub certificates_checked: bool,
    /// Records that no signature in the file covers yet.
    pub unsigned: u64,
    /// How many signatures are bad.
    pub bad: u64,
    /// The first of the bad signatures.
    pub bad_signatures: Vec<BadSignature>,
}

/// A node's signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// The newest covers all records before this one.
    pub before: u64,
    /// How many there are.
    pub signatures: u64,
}

/// Checks a file, line by line.
pub struct Verifier<'a> {
    authorities: Option<&'a Authorities>,
    line: u64,
    report: Report,
    /// The chain hashes before the most recent records, oldest first.
    hashes: VecDeque<Hash>,
    oldest: u64,
    begun: bool,
    ended: bool,
}

impl<'a> Verifier<'a> {
    /// Starts a check; with `authorities`, certificates are checked too.
    pub fn new(authorities: Option<&'a Authorities>) -> Self {
        let report = Report { certificates_checked: authorities.is_some(), ..Report::default() };
        Self { authorities, line: 0, report, hashes: VecDeque::new(), oldest: 0, begun: false, ended: false }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// If it does not follow from those before it.
    pub fn line(&mut self, text: &str) -> Result<(), Broken> {
        self.line += 1;
        let line: Line = serde_json::from_str(text)
            .map_err(|_| self.broken("it is not a line of an audit export, or it is damaged"))?;
        self.take(line).map_err(|why| self.broken(why))
    }

    /// The report, after the last line.
    ///
    /// # Errors
    /// If the file ends too early.
    pub fn end(mut self) -> Result<Report, Broken> {
        self.line += 1;
        if !self.ended {
            return Err(self.broken("the file ends without its last line: it was cut off"));
        }
        let covered = self.report.signed.values().map(|signed| signed.before).max().unwrap_or(0);
        self.report.unsigned = self.report.next - covered.clamp(self.report.from, self.report.next);
        Ok(self.report)
    }

    fn broken(&self, why: impl Into<String>) -> Broken {
        Broken { line: self.line, why: why.into() }
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        if self.ended {
            return Err("there is something after the last line".into());
        }
        match line {
            Line::Header(header) if !self.begun => self.begin(header),
            Line::Header(_) => Err("a second header".into()),
            _ if !self.begun => Err("the file does not begin with a header: its start was cut off".into()),
            Line::Record(RecordLine { seq, time, says: _, record, chain }) => {
                if time != words::time(record.time_ms) {
                    return Err(format!("record {seq}: its time in words is not its time"));
                }
                self.step(seq, record.hash(), chain)?;
                self.report.records += 1;
                match &record.event {
                    AuditEvent::Signed(signature) => self.signature(seq, record.time_ms, signature),
                    AuditEvent::Claim { .. } | AuditEvent::Change { .. } | AuditEvent::Noted { .. } => Ok(()),
                }
            }
            Line::Left(LeftLine { seq, hash, chain }) => {
                self.report.left_out += 1;
                self.step(seq, hash, chain)
            }
            Line::Gap(GapLine { missing: (from, to), chain }) => {
                if from != self.report.next || to <= from {
                    return Err(format!(
                        "a gap from {from} to {to}, expected is record {}",
                        self.report.next
                    ));
                }
                self.report.missing += to - from;
                (self.report.next, self.report.chain) = (to, chain);
                self.hashes = VecDeque::from([chain]);
                self.oldest = to;
                Ok(())
            }
            Line::End(EndLine { end, chain }) => {
                if (end, chain) != (self.report.next, self.report.chain) {
                    return Err(format!(
                        "the end is said to be at record {end}, the records before it end at {}: some are missing",
                        self.report.next
                    ));
                }
                self.ended = true;
                Ok(())
            }
        }
    }

    fn begin(&mut self, header: Header) -> Result<(), String> {
        let Header { signonce_audit, cluster, node: _, exported: _, from, chain } = header;
        if signonce_audit != FORM {
            return Err(format!("form {signonce_audit} is unknown to this version, which reads {FORM}"));
        }
        if from == 0 && chain != Hash::default() {
            return Err("the chain does not begin where chains begin".into());
        }
        self.begun = true;
        self.oldest = from;
        self.hashes.push_back(chain);
        self.report = Report { cluster, from, next: from, chain, ..std::mem::take(&mut self.report) };
        Ok(())
    }

    /// Advances by one record.
    fn step(&mut self, seq: u64, hash: Hash, chain: Hash) -> Result<(), String> {
        if seq != self.report.next {
            return Err(format!("record {seq}, expected is {}: records are missing", self.report.next));
        }
        let computed = chain_after(&self.report.chain, &hash);
        if computed != chain {
            return Err(format!(
                "record {seq} was changed, or one before it: its content gives the chain hash {computed}, not {chain}"
            ));
        }
        (self.report.next, self.report.chain) = (seq + 1, chain);
        self.hashes.push_back(chain);
        if self.hashes.len() > REMEMBERED {
            self.hashes.pop_front();
            self.oldest += 1;
        }
        Ok(())
    }

    /// Takes a node's signature into account if it is good. A good one that says something else than this file shows
    /// that the file is not what that node has.
    fn signature(&mut self, seq: u64, time_ms: u64, signature: &AuditSignature) -> Result<(), String> {
        let node = signature.node;
        let mut good = head::check(signature, &self.report.cluster, time_ms, self.authorities);
        if signature.next > seq {
            good = good.and(Err(format!("it is of record {}, which came later", signature.next)));
        }
        if let Err(why) = good {
            self.bad(seq, node, why);
            return Ok(());
        }
        let Some(back) = signature.next.checked_sub(self.oldest) else { return Ok(()) };
        let here = usize::try_from(back).ok().and_then(|back| self.hashes.get(back));
        match here {
            Some(hash) if *hash != signature.chain => {
                let why = format!(
                    "it is of another history: before record {} it says {}, this file {hash}",
                    signature.next, signature.chain
                );
                // Without an authority, anybody could have made the certificate.
                if self.authorities.is_none() {
                    self.bad(seq, node, why);
                    return Ok(());
                }
                Err(format!("record {seq}, the signature of node {node}: {why}"))
            }
            Some(_) => {
                let signed = self.report.signed.entry(node).or_default();
                signed.before = signed.before.max(signature.next);
                signed.signatures += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn bad(&mut self, seq: u64, node: NodeId, why: String) {
        self.report.bad += 1;
        if self.report.bad_signatures.len() < TOLD {
            self.report.bad_signatures.push(BadSignature { line: self.line, seq, node, why });
        }
    }
}

#[cfg(test)]
mod tests;
