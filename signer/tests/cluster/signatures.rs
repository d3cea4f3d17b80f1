//! Signatures are the same bytes whichever node makes them.

use crate::{
    common::{World, code_of, decoded, until},
    members::at_newest_level,
};
use signonce_cli::commands::demo::chain::{self, Flavour};
use signonce_core::{AuditEvent, Verdict};
use signonce_keys::{VrfSignature, verify, verify_babe_vrf};
use signonce_protocol::{
    Digest, RawPayload,
    rpc::{ChainRef, ErrorCode, SignVerdict},
};
use signonce_shared::audit::query::{AuditLine, AuditQuery, DutyQuery};
use signonce_substrate::{
    BABE, BEEFY, Duty, ECDSA, ED25519, GRANDPA, GrandpaStage, Kind, PARA, Round, SR25519, SessionIndex,
    SetId, VrfParams,
};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_payload_signed_on_three_nodes_gives_one_signature_for_every_scheme() {
    let world = World::start(&["v1"]).await;
    let clients: Vec<_> =
        world.cluster.node_ids().into_iter().map(|node| world.client_of("v1", node)).collect();

    let slot = world.next_slot();
    let epoch_index = chain::epoch_of(slot);
    let randomness = chain::randomness(epoch_index);
    let key = world.key(BABE).public;
    let asked =
        VrfParams { chain: ChainRef::Id(world.cluster.genesis()), key, slot, epoch_index, randomness };
    let mut vrfs = Vec::new();
    for client in &clients {
        vrfs.push(client.ask(&asked).await.unwrap());
    }
    assert!(vrfs.iter().all(|vrf| *vrf == vrfs[0]), "{vrfs:?}");
    let vrf = VrfSignature { pre_output: vrfs[0].pre_output.0, proof: vrfs[0].proof.0 };
    assert!(verify_babe_vrf(&key, slot, epoch_index, &randomness.0, &vrf));

    let proof = RawPayload::new(Kind::OwnershipProof.into(), b"POP_owner".to_vec());
    let payloads = [
        (BABE, chain::header(world.next_slot(), &vrf.pre_output, &vrf.proof, Flavour(0))),
        (GRANDPA, chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 5, Flavour(0))),
        (BEEFY, chain::commitment(SetId(1), 5, Flavour(0))),
        (PARA, chain::dispute(SessionIndex(1), 5, true)),
        (BABE, proof.clone()),
        (GRANDPA, proof.clone()),
        (BEEFY, proof),
    ];
    let mut schemes = BTreeSet::new();
    for (key_type, payload) in payloads {
        let key = world.key(key_type);
        schemes.insert(key.scheme);
        let mut signatures = BTreeSet::new();
        for (nth, client) in clients.iter().enumerate() {
            let reply = client.sign(&world.params(key_type, &payload)).await.unwrap();
            let expected = match (Kind::try_from(payload.kind()), nth) {
                (Ok(Kind::OwnershipProof), _) => SignVerdict::Free,
                (_, 0) => SignVerdict::Granted,
                _ => SignVerdict::Repeated,
            };
            assert_eq!(reply.verdict, expected, "{payload:?}");
            signatures.insert(reply.signature.0);
        }
        assert_eq!(signatures.len(), 1, "{key_type}: {signatures:?}");
        let decoded = decoded(&payload);
        assert!(verify(key.scheme, &key.public, decoded.to_sign(), signatures.first().unwrap()));
    }
    assert_eq!(schemes, BTreeSet::from([SR25519, ED25519, ECDSA]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signature_about_a_candidate_is_on_record_and_seconded_beside_valid_is_refused() {
    let world = World::start(&["v1"]).await;
    at_newest_level(&world).await;
    let client = world.client_of("v1", 1);
    let session = SessionIndex(1);
    let payloads = [chain::backing(session, 5), chain::dispute(session, 5, true)];
    for payload in &payloads {
        let params = world.params(PARA, payload);
        let reply = client.sign(&params).await.unwrap();
        assert_eq!(reply.verdict, SignVerdict::Granted, "{payload:?} has bytes of its own");
        let duty = reply.duty.as_ref().and_then(Duty::of);
        assert!(matches!(duty, Some(Duty::ParaSide { .. })), "as every client knows it");
        assert_eq!(client.sign(&params).await.unwrap().verdict, SignVerdict::Repeated);
    }
    // `Seconded` of the candidate that was called `Valid`.
    let mut bytes = payloads[0].bytes().to_vec();
    assert_eq!(std::mem::replace(&mut bytes[4], 1), 2);
    let seconded = RawPayload::new(Kind::Statement.into(), bytes);
    let refused = client.sign(&world.params(PARA, &seconded)).await.unwrap_err();
    assert_eq!(code_of(&refused), Some(ErrorCode::Equivocation), "{refused}");
    assert!(refused.to_string().contains("second statement"), "{refused}");

    let admin = world.cluster.admin(1);
    let duty = Some(DutyQuery([("session".to_owned(), u64::from(session.0))].into()));
    let query = AuditQuery { duty, ..AuditQuery::default() };
    let granted = until("both grants can be read", async || {
        let lines = admin.audit(&query).await.ok()?.lines;
        let granted: BTreeSet<Digest> = lines.iter().filter_map(granted).collect();
        (granted.len() >= payloads.len()).then_some(granted)
    })
    .await;
    assert_eq!(granted, payloads.iter().map(RawPayload::digest).collect());
}

fn granted(line: &AuditLine) -> Option<Digest> {
    match &line.record.as_ref()?.event {
        AuditEvent::Claim { digest, answer: Verdict::Granted, .. } => Some(*digest),
        _ => None,
    }
}
