//! The demo itself.

use crate::common::run;

#[test]
fn a_short_demo_kills_and_freezes_a_leader_and_ends_with_no_duty_signed_twice() {
    let output = run(&["demo", "--seconds", "6", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["violations"].as_array().map(Vec::len), Some(0), "{summary}");
    assert_eq!(summary["vrfFaults"], 0, "{summary}");
    assert!(summary["signed"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary["checked"].as_u64() >= summary["signed"].as_u64(), "{summary}");
    assert!(summary["refused"]["equivocation"].as_u64().unwrap() > 0, "the losers were refused: {summary}");
    let events = summary["events"].to_string();
    for event in ["SIGKILL", "started again", "SIGSTOP", "follows"] {
        assert!(events.contains(event), "{event}: {events}");
    }
}
