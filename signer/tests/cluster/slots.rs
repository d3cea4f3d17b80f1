//! An AURA chain whose slots get another length while the cluster runs.

use crate::{
    common::{World, code, run, until},
    members::at_newest_level,
};
use signonce_protocol::{
    Hash, PublicKey, RawPayload, Slot,
    rpc::{ChainRef, ErrorCode, SignParams, SignVerdict},
};
use signonce_substrate::{
    BlockNumber, Kind,
    payload::{AURA_ENGINE, DigestItem, Header},
};
use std::{
    fs,
    process::Output,
    time::{SystemTime, UNIX_EPOCH},
};

/// Alice's public key.
const ALICE: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
const GENESIS: &str = "0x7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a";

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn block(slot: u64, view: u8) -> RawPayload {
    let header = Header {
        parent: Hash([view; 32]),
        number: BlockNumber(9),
        state_root: Hash([1; 32]),
        extrinsics_root: Hash([2; 32]),
        digest: vec![DigestItem::PreRuntime(AURA_ENGINE, Slot(slot).0.to_le_bytes().to_vec())],
    };
    RawPayload::new(Kind::AuraHeader.into(), header.encode())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_go_on_at_slots_of_another_length_with_the_same_key() {
    let world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
    let does = |exit: i32, words: &[&str]| {
        let output = run(&[words, &["--yes", "--admin", &admin]].concat());
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", said(&output));
        said(&output)
    };
    does(0, &["chains", "add", "solo", "--genesis", GENESIS, "--slot-duration", "6000"]);
    let keystore = world.scratch("keystore");
    fs::create_dir(&keystore).unwrap();
    fs::write(keystore.join(format!("{}{ALICE}", hex::encode("aura"))), "\"//Alice\"").unwrap();
    does(0, &["keys", "import", keystore.to_str().unwrap(), "--chain", "solo", "--group", "solo"]);
    let client = world.client("v1");
    let key: PublicKey = format!("0x{ALICE}").parse().unwrap();
    let sign = async |slot: u64, view: u8| {
        let chain = ChainRef::Name("solo".into());
        client.sign(&SignParams { chain, key, payload: block(slot, view) }).await
    };
    let old = now_ms() / 6_000 + 2;
    let reply = until("every node knows the key", async || sign(old, 1).await.ok()).await;
    assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));

    // Four times as long from the first slot on that begins when the last one has ended: a quarter of the number.
    let first = ((old + 1) * 6_000).div_ceil(24_000);
    let early = code(&sign(first, 1).await);
    assert!(matches!(early, ErrorCode::SlotOutOfRange | ErrorCode::BelowWatermark), "nobody has said so yet");
    let first_slot = first.to_string();
    let longer = ["chains", "retime", "solo", "--slot-duration", "24000", "--first-slot", &first_slot];
    let plan = run(&[&longer[..], &["--admin", &admin]].concat());
    assert!(
        plan.status.code() == Some(2)
            && said(&plan).contains(&format!("first slot of the new length  {first}"))
    );
    let told = does(0, &longer);
    assert!(told.contains("24000 ms from"), "{told}");
    does(0, &longer);
    let reply = until("every node counts anew", async || sign(first, 1).await.ok()).await;
    assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));
    assert_eq!(code(&sign(first, 2).await), ErrorCode::Equivocation);
    for slot in [old, old + 1, old + 2] {
        let refused = sign(slot, 2).await;
        let code = code(&refused);
        assert!(matches!(code, ErrorCode::SlotOutOfRange | ErrorCode::BelowWatermark), "{slot}: {refused:?}");
    }
    sign(first + 1, 1).await.unwrap();
    let rests = does(1, &["chains", "retime", "solo", "--take-back"]);
    assert!(rests.contains("counts by the last change already"), "{rests}");
}
