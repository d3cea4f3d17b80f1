//! `signonce audit verify`

use crate::commands::common::{Done, Output};
use anyhow::Context as _;
use signonce_shared::{
    audit::file::{BadSignature, Report, Verifier},
    node_signature::Authorities,
};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

/// The exit code for intact records with bad signatures among them.
const BAD_SIGNATURES: u8 = 5;

/// Checks an export: the chain from the first record to the last, and the nodes' signatures of it.
///
/// Needs no node. Names the first line that was changed. Also fails if records are missing, or if no node has signed
/// any of them. A bad signature is reported and ignored; if everything else is sound, the exit code is 5.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The export, or - for standard input.
    file: PathBuf,
    /// PEM: the authority that issued the nodes' certificates. Without it the signatures are checked against the
    /// certificates in the file, which whoever made the file could have made as well.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args) -> Done {
    let authorities = args.ca.as_deref().map(Authorities::read).transpose()?;
    let shown = args.file.display().to_string();
    let reader: Box<dyn BufRead> = if shown == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(&args.file).with_context(|| format!("cannot read {shown}"))?))
    };
    let mut verifier = Verifier::new(authorities.as_ref());
    for line in reader.lines() {
        let line = line.with_context(|| format!("cannot read {shown}"))?;
        verifier.line(&line).with_context(|| shown.clone())?;
    }
    let report = verifier.end().with_context(|| shown.clone())?;
    let problem = problem(&report);
    args.output.print(&report, describe(&report, problem.as_deref()))?;
    Ok(match (problem, report.bad) {
        (Some(_), _) => ExitCode::FAILURE,
        (None, 0) => ExitCode::SUCCESS,
        (None, _) => ExitCode::from(BAD_SIGNATURES),
    })
}

/// Why a file without errors still proves less than it should.
fn problem(report: &Report) -> Option<String> {
    if report.missing > 0 {
        return Some(format!(
            "{} records are missing: the node that gave this file did not have them. Export from another node",
            report.missing
        ));
    }
    if report.signed.is_empty() {
        return Some(
            "no node has signed any of it, so it only shows that nothing was changed by accident: export from a \
             little earlier on, or wait for the next signature"
                .into(),
        );
    }
    None
}

fn describe(report: &Report, problem: Option<&str>) -> String {
    let Report {
        cluster,
        from,
        next,
        chain,
        records,
        left_out,
        missing: _,
        signed,
        certificates_checked,
        unsigned,
        bad,
        bad_signatures,
    } = report;
    let mut text = String::new();
    let verdict = if problem.is_some() { "INCOMPLETE" } else { "SOUND" };
    let last = next.saturating_sub(1);
    let _ =
        writeln!(text, "{verdict}: records {from} to {last} of cluster {cluster} follow from one another.");
    let _ = writeln!(text, "{records} records in full, {left_out} as hashes; the chain ends with {chain}.");
    for (node, signed) in signed {
        let _ = writeln!(
            text,
            "node {node} has signed up to record {} ({} signatures).",
            signed.before, signed.signatures
        );
    }
    if *unsigned > 0 && !signed.is_empty() {
        let _ = writeln!(text, "The last {unsigned} records are younger than the newest signature.");
    }
    if !certificates_checked {
        let _ = writeln!(text, "The certificates were not checked: give --ca.");
    }
    if *bad > 0 {
        let _ = writeln!(
            text,
            "BAD SIGNATURES: {bad}. The records are what they were, and these prove nothing. Find out who brought them \
             into the audit, and how:"
        );
        for BadSignature { line, seq, node, why } in bad_signatures {
            let _ = writeln!(text, "  line {line}: record {seq}, said to be of node {node}: {why}");
        }
        let untold = bad.saturating_sub(bad_signatures.len() as u64);
        if untold > 0 {
            let _ = writeln!(text, "  and {untold} more");
        }
    }
    if let Some(problem) = problem {
        let _ = writeln!(text, "{problem}.");
    }
    text
}
