//! Operators: roles by name, and changes that take two of them.

use crate::common::{World, run};
use serde_json::Value;
use signonce_cli::dev::LocalCluster;
use signonce_substrate::BABE;

/// An admin with a certificate, who asks node 1 over HTTPS.
pub struct Admin {
    pub cert: String,
    key: String,
    ca: String,
    url: String,
}

impl Admin {
    pub fn issue(world: &World, name: &str) -> Self {
        Self::issue_to(world, name, "admins")
    }

    /// With a key of its own, whatever certificates with the name there are in other directories.
    pub fn issue_to(world: &World, name: &str, out: &str) -> Self {
        let certs = world.scratch("cluster/certs");
        let out = world.scratch(out);
        let (dir, to) = (certs.display().to_string(), out.display().to_string());
        let issued = run(&["certs", "issue", "admin", name, "--dir", &dir, "--out", &to]);
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        let file = |name: String| out.join(name).display().to_string();
        Self {
            cert: file(format!("admin-{name}.pem")),
            key: file(format!("admin-{name}-key.pem")),
            ca: certs.join("ca.pem").display().to_string(),
            url: world.cluster.admin_url(1),
        }
    }

    /// The same person with the same certificate, who asks another cluster that believes in it.
    pub fn at(self, cluster: &LocalCluster) -> Self {
        let ca = cluster.admin_tls().ca.display().to_string();
        Self { ca, url: cluster.admin_url(1), ..self }
    }

    /// What standard output is in JSON.
    pub fn answers(&self, arguments: &[&str]) -> Value {
        let (out, _) = self.does(0, &[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap()
    }

    /// The number of the proposal that a command ends with, which is all it does.
    pub fn proposes(&self, arguments: &[&str]) -> String {
        let answer = self.answers(arguments);
        assert_eq!(answer["state"], "proposed", "{answer}");
        answer["proposal"].to_string()
    }

    /// What standard output and standard error say.
    pub fn does(&self, expected: i32, arguments: &[&str]) -> (String, String) {
        let Self { cert, key, ca, url } = self;
        let reach = ["--admin", url, "--admin-cert", cert, "--admin-key", key, "--ca", ca];
        said(expected, &[arguments, &reach].concat())
    }
}

pub fn said(expected: i32, arguments: &[&str]) -> (String, String) {
    let output = run(arguments);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {out}{err}");
    (out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_go_by_name_and_dangerous_changes_take_two_officers() {
    let world = World::start(&["v1"]).await;
    let [alice, bob, olga, vera, eve] =
        ["alice", "bob", "olga", "vera", "eve"].map(|name| Admin::issue(&world, name));
    let set = |name: &'static str, role: &'static str| ["officers", "set", name, "--role", role, "--yes"];

    // The first entry is a key officer, and shuts everybody else out.
    let (_, why) = eve.does(1, &set("olga", "operator"));
    assert!(why.contains("make another key officer first"), "{why}");
    let (_, plan) = eve.does(0, &set("alice", "key-officer"));
    assert!(plan.contains("first entry of the list"), "{plan}");
    for arguments in [&["status"][..], &["officers", "list"], &["clients", "remove", "v1", "--yes"]] {
        let (_, why) = eve.does(1, arguments);
        assert!(why.contains("admin:eve#0x") && why.contains("has no role in this cluster"), "{why}");
    }
    for (name, role) in [("bob", "key-officer"), ("olga", "operator"), ("vera", "viewer")] {
        alice.does(0, &set(name, role));
    }

    // Each role does what it may.
    let key = world.key(BABE);
    let key = format!("babe:{}", key.public);
    vera.does(0, &["clients", "list"]);
    vera.does(1, &["keys", "disable", &key, "--yes"]);
    olga.does(1, &["keys", "remove", &key, "--yes"]);
    olga.does(1, &set("olga", "key-officer"));
    olga.does(0, &["clients", "limits", "v1", "--in-flight", "9", "--yes"]);

    // Two for what is dangerous.
    alice.does(0, &["officers", "require-approval", "--on", "--yes"]);
    let (out, _) = alice.does(0, &["keys", "remove", &key, "--yes", "--json"]);
    let proposed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(proposed["state"], "proposed", "{out}");
    let id = proposed["proposal"].to_string();
    assert_eq!(proposed["approve"], format!("signonce proposals approve {id}"));
    let state = || {
        let (out, _) = alice.does(0, &["keys", "list", "--json"]);
        let rows: Value = serde_json::from_str(&out).unwrap();
        let row =
            rows.as_array().unwrap().iter().find(|row| row["id"].to_string().contains(&key[7..])).cloned();
        row.map_or(Value::Null, |row| row["state"].clone())
    };
    assert_eq!(state(), "armed", "nothing was changed");
    let (list, _) = vera.does(0, &["proposals", "list"]);
    assert!(list.contains("admin:alice") && list.contains("removeKey"), "{list}");
    let (_, why) = alice.does(1, &["proposals", "approve", &id, "--yes"]);
    assert!(why.contains("another key officer"), "{why}");
    olga.does(1, &["proposals", "approve", &id, "--yes"]);
    bob.does(0, &["proposals", "approve", &id, "--yes"]);
    assert_eq!(state(), Value::Null, "removed keys are not listed");
    let (all, _) = vera.does(0, &["proposals", "list", "--all"]);
    assert!(all.contains("admin:alice") && all.contains("approved by admin:bob"), "{all}");
    bob.does(1, &["proposals", "approve", &id, "--yes"]);
    bob.does(1, &["proposals", "approve", "999999", "--yes"]);

    // Nor does one undo it, not even on the machine of a signer.
    let socket = format!("unix:{}", world.cluster.admin_socket(2).display());
    let off = ["officers", "require-approval", "--off", "--yes", "--admin", &socket];
    let (out, _) = said(0, &[&off[..], &["--json"]].concat());
    let proposed: Value = serde_json::from_str(&out).unwrap();
    let id = proposed["proposal"].to_string();
    said(1, &["proposals", "approve", &id, "--yes", "--admin", &socket]);
    alice.does(0, &["proposals", "reject", &id, "--yes"]);
    let (list, _) = alice.does(0, &["officers", "list"]);
    assert!(list.contains("take two key officers") && list.contains("You are admin:alice"), "{list}");
}
