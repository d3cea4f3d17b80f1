//! Officers known by their keys, and what takes two of them: through the command line, against real processes.

use crate::{
    common::{World, free_address},
    members::{Machine, at_newest_level},
    officers::{Admin, said},
    restore::new_cluster,
};
use signonce_cli::dev::LocalCluster;
use std::{fs, path::Path};

/// A cluster with two pinned key officers and a viewer, in which dangerous changes take two.
struct Office {
    world: World,
    alice: Admin,
    bob: Admin,
    vera: Admin,
    /// Has a certificate and no role.
    eve: Admin,
    /// Bob's name, and another key.
    false_bob: Admin,
}

impl Office {
    async fn open() -> Self {
        let world = World::start(&["v1"]).await;
        at_newest_level(&world).await;
        let [alice, bob, vera, eve] = ["alice", "bob", "vera", "eve"].map(|name| Admin::issue(&world, name));
        let false_bob = Admin::issue_to(&world, "bob", "thief");
        for (name, role, admin) in
            [("alice", "key-officer", &alice), ("bob", "key-officer", &bob), ("vera", "viewer", &vera)]
        {
            alice.does(0, &["officers", "add", name, "--role", role, "--certificate", &admin.cert, "--yes"]);
        }
        alice.does(0, &["officers", "require-approval", "--on", "--yes"]);
        Self { world, alice, bob, vera, eve, false_bob }
    }

    /// Nobody but Bob gets Alice's proposal through, and nobody twice.
    fn decide(&self, id: &str) {
        let approve = ["proposals", "approve", id, "--yes"];
        let (_, why) = self.alice.does(1, &approve);
        assert!(why.contains("another key officer must approve it"), "{why}");
        let (_, why) = self.eve.does(1, &approve);
        assert!(why.contains("has no role in this cluster"), "{why}");
        let (_, why) = self.vera.does(1, &approve);
        assert!(why.contains("has the role viewer"), "{why}");
        let (_, why) = self.false_bob.does(1, &approve);
        assert!(why.contains("no key that bob is known by"), "{why}");
        self.bob.does(0, &approve);
        let (_, why) = self.bob.does(1, &approve);
        assert!(why.contains("was approved by admin:bob"), "{why}");
    }

    /// The node that an approved proposal has invited, as everybody can see.
    fn invited(&self, id: &str) -> u64 {
        let rows = self.vera.answers(&["proposals", "list", "--all"]);
        let id: u64 = id.parse().unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
        row["node"].as_u64().unwrap()
    }

    /// Taken back by who made it: nobody can approve it any more.
    fn withdraw(&self, id: &str) {
        self.alice.does(0, &["proposals", "reject", id, "--yes"]);
        let (_, why) = self.bob.does(1, &["proposals", "approve", id, "--yes"]);
        assert!(why.contains("was rejected by admin:alice"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_is_its_key_and_no_other_certificate_with_its_name() {
    let world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let (alice, olga) = (Admin::issue(&world, "alice"), Admin::issue(&world, "olga"));
    let stolen = Admin::issue_to(&world, "alice", "thief");
    alice.does(0, &["officers", "set", "alice", "--role", "key-officer", "--yes"]);
    let (_, plan) = alice.does(0, &["officers", "set", "olga", "--role", "operator", "--yes"]);
    assert!(plan.contains("whoever gets a certificate with that name"), "{plan}");

    // By name alone: everybody with the name, and everybody is told.
    stolen.does(0, &["status"]);
    let config = world.cluster.config_path(1).display().to_string();
    for arguments in [&["officers", "list"][..], &["status"]] {
        let (out, _) = alice.does(0, arguments);
        assert!(out.contains("name in their certificate alone: alice, olga"), "{out}");
    }
    let unpinned = alice.answers(&["officers", "list"])["unpinned"].clone();
    assert_eq!(unpinned, serde_json::json!(["alice", "olga"]));
    let doctor = crate::common::run(&["doctor", "--config", &config]);
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(found.contains("officers pin alice --certificate FILE"), "{found}");

    // Pinned: its key, wherever the name comes from.
    let pin = |name: &'static str, file: &str| {
        ["officers", "pin", name, "--certificate", file, "--yes"].map(str::to_owned).to_vec()
    };
    let does = |admin: &Admin, code, arguments: Vec<String>| {
        admin.does(code, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (_, why) = does(&alice, 2, pin("alice", &olga.cert));
    assert!(why.contains("is admin olga's, not alice's"), "{why}");
    does(&alice, 0, pin("alice", &alice.cert));
    does(&alice, 0, pin("olga", &olga.cert));
    let (_, why) = stolen.does(1, &["status"]);
    assert!(why.contains("no key that alice is known by"), "{why}");
    let (_, why) = does(&alice, 1, pin("alice", &stolen.cert));
    assert!(why.contains("officers rotate alice"), "{why}");
    let (out, _) = alice.does(0, &["officers", "list"]);
    assert!(!out.contains("NOT PINNED") && out.contains("You are admin:alice#0x"), "{out}");

    // A new key, without a gap; the old one never again.
    let new = Admin::issue_to(&world, "alice", "new");
    let rotate = ["officers", "rotate", "alice", "--certificate", &new.cert, "--yes"];
    new.does(1, &rotate);
    alice.does(0, &rotate);
    alice.does(0, &["status"]);
    new.does(0, &["officers", "rotate", "alice", "--finish", "--yes"]);
    alice.does(1, &["status"]);
    let (_, why) = new.does(1, &["officers", "rotate", "alice", "--certificate", &alice.cert, "--yes"]);
    assert!(why.contains("belongs, or belonged, to officer alice"), "{why}");

    // The way back in: a signer's socket.
    let socket = format!("unix:{}", world.cluster.admin_socket(2).display());
    said(0, &["officers", "remove", "olga", "--yes", "--admin", &socket]);
    olga.does(1, &["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_comes_and_goes_by_the_word_of_two_and_only_the_proposer_has_its_token() {
    let office = Office::open().await;
    let Office { world, alice, bob, vera, .. } = &office;
    let peer = free_address();
    let token = world.scratch("token");
    let file = token.display().to_string();
    let withdrawn = alice.proposes(&["members", "add", "--peer", "h:1", "--yes"]);
    office.withdraw(&withdrawn);

    let add = ["members", "add", "--peer", &peer.to_string(), "--token-file", &file, "--yes"];
    let id = alice.proposes(&add);
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    let (shown, _) = vera.does(0, &["proposals", "list", "--json"]);
    assert!(shown.contains("addMember") && !shown.contains(&secret), "{shown}");
    office.decide(&id);
    let node = office.invited(&id);
    let (text, _) = alice.does(0, &["proposals", "list", "--all"]);
    assert!(text.contains(&format!("invited node {node}")), "{text}");

    // With the token that Alice has kept it joins; to take it out again takes two.
    let machine = Machine::new(world, node, peer);
    assert!(machine.join(Path::new(&file)).status.success());
    let name = node.to_string();
    let remove = ["members", "remove", &name, "--yes"];
    office.withdraw(&alice.proposes(&remove));
    office.decide(&alice.proposes(&remove));
    let (_, why) = alice.does(1, &remove);
    assert!(why.contains("removed"), "{why}");
    let rows = alice.answers(&["members", "list"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["node"] != node || row["wanted"].is_null()));

    // What two agree to is judged as what one wants: three voters are left.
    let id = alice.proposes(&["members", "remove", "3", "--yes"]);
    let (_, why) = bob.does(1, &["proposals", "approve", &id, "--yes"]);
    assert!(why.contains("only 2 voters would be left"), "{why}");

    // An invitation that nobody has used is taken back by one.
    let id = alice.proposes(&["members", "add", "--peer", "h:1", "--yes"]);
    bob.does(0, &["proposals", "approve", &id, "--yes"]);
    alice.does(0, &["members", "remove", &office.invited(&id).to_string(), "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_imported_and_clients_added_by_the_word_of_two() {
    let office = Office::open().await;
    let Office { world, alice, bob, .. } = &office;
    let keystore = world.scratch("keystore");
    fs::create_dir(&keystore).unwrap();
    let public = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
    fs::write(keystore.join(format!("62616265{public}")), "\"//Alice\"").unwrap();
    let place = keystore.display().to_string();
    let import = ["keys", "import", &place, "--chain", "dev", "--group", "alice", "--yes"];
    let state = || {
        let rows = alice.answers(&["keys", "list"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["id"].to_string().contains(public)).cloned();
        row.unwrap()["state"].clone()
    };

    // It is there, and signs nothing before another officer says from where on.
    let proposal = || {
        let answer = alice.answers(&import);
        assert!(answer["imported"][0]["logIndex"].is_null(), "{answer}");
        answer["imported"][0]["proposal"].to_string()
    };
    let first = proposal();
    assert_eq!(state(), "registered");
    office.withdraw(&first);
    let second = proposal();
    assert_ne!(first, second, "what was taken back is proposed anew");
    office.decide(&second);
    assert_eq!(state(), "armed");
    assert_eq!(alice.answers(&import)["imported"], serde_json::json!([]), "safe to repeat");

    // A client with rights; and the same rights for another certificate.
    let certs = world.scratch("cluster/certs").display().to_string();
    let out = world.scratch("clients").display().to_string();
    let mut files = ["new", "newer"].map(|name| {
        said(0, &["certs", "issue", "client", name, "--dir", &certs, "--out", &out]);
        format!("{out}/client-{name}.pem")
    });
    files.sort();
    let clients = || alice.answers(&["clients", "list"]).to_string();
    let add = ["clients", "add", "new", "--cert", &files[0], "--rights", "all", "--yes"];
    office.withdraw(&alice.proposes(&add));
    let id = alice.proposes(&add);
    assert!(!clients().contains("\"new\""), "nothing was changed");
    office.decide(&id);
    assert!(clients().contains("\"new\""));
    office.decide(&alice.proposes(&["clients", "rotate", "new", "--cert", &files[1], "--yes"]));
    // What takes away takes one, at once.
    bob.does(0, &["clients", "rotate", "new", "--finish", "--yes"]);
    bob.does(0, &["clients", "remove", "new", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn officers_who_have_all_lost_their_keys_are_replaced_by_a_restore_and_by_nothing_less() {
    let Office { world, .. } = Office::open().await;
    let old = &world.cluster;
    let by_socket = |cluster: &LocalCluster, node, code, arguments: &[&str]| {
        let admin = format!("unix:{}", cluster.admin_socket(node).display());
        said(code, &[arguments, &["--admin", &admin]].concat())
    };

    // Whoever has the machines, and no officer's key, stops at the first thing that takes two.
    let off = ["officers", "require-approval", "--off", "--yes", "--json"];
    let (proposed, _) = by_socket(old, 1, 0, &off);
    let proposal: serde_json::Value = serde_json::from_str(&proposed).unwrap();
    let id = proposal["proposal"].to_string();
    let (_, why) = by_socket(old, 2, 1, &["proposals", "approve", &id, "--yes"]);
    assert!(why.contains("another key officer must approve it"), "{why}");

    let backup = world.scratch("backup").display().to_string();
    by_socket(old, 2, 0, &["backup", "create", "--out", &backup]);
    let old_id = old.admin(1).status().await.unwrap().cluster;
    let (identity, home) = (old.data_dir(2).join("identity.age"), old.data_dir(2));
    let unlock = home.parent().unwrap().join("unlock");
    let [identity, unlock, old_ca] =
        [identity, unlock, old.admin_tls().ca].map(|path| path.display().to_string());

    // A new cluster has its own officers before the old ones come.
    let new = new_cluster(&world.scratch("new"), Path::new(&old_ca)).await;
    let [dora, ed] = ["dora", "ed"].map(|name| Admin::issue(&world, name).at(&new));
    let add = |name, cert| ["officers", "add", name, "--role", "key-officer", "--certificate", cert, "--yes"];
    dora.does(0, &add("dora", &dora.cert));
    dora.does(0, &add("ed", &ed.cert));
    let restore =
        ["restore", "--new-cluster", "--from", &backup, "--backup-ca", &old_ca, "--confirm", &old_id];
    let opens = ["--identity", &identity, "--unlock-file", &unlock, "--json"];
    by_socket(&new, 3, 0, &[&restore[..], &opens].concat());

    let listed = dora.answers(&["officers", "list"]);
    assert_eq!(listed["requireApproval"], true, "{listed}");
    for lost in ["alice", "bob"] {
        let id = dora.proposes(&["officers", "remove", lost, "--yes"]);
        ed.does(0, &["proposals", "approve", &id, "--yes"]);
    }
    let listed = ed.answers(&["officers", "list"]);
    let names: Vec<&String> = listed["roles"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["dora", "ed", "vera"], "{listed}");
}
