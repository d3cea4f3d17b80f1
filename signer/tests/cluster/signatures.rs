//! Signatures are the same bytes whichever node makes them.

use crate::common::World;
use signonce::cli::demo::chain::{self, Flavour};
use signonce_keys::{VrfSignature, verify, verify_babe_vrf};
use signonce_protocol::{
    ChainFormat, GrandpaStage, KeyType, PayloadKind, RawPayload, Round, Scheme, SessionIndex, SetId,
    rpc::{ChainRef, SignVerdict, VrfParams},
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
    let key = world.key(KeyType::Babe).public;
    let asked =
        VrfParams { chain: ChainRef::Genesis(world.cluster.genesis()), key, slot, epoch_index, randomness };
    let mut vrfs = Vec::new();
    for client in &clients {
        vrfs.push(client.vrf(&asked).await.unwrap());
    }
    assert!(vrfs.iter().all(|vrf| *vrf == vrfs[0]), "{vrfs:?}");
    let vrf = VrfSignature { pre_output: vrfs[0].pre_output.0, proof: vrfs[0].proof.0 };
    assert!(verify_babe_vrf(&key, slot, epoch_index, &randomness.0, &vrf));

    let proof = RawPayload::new(PayloadKind::OwnershipProof, b"POP_owner".to_vec());
    let payloads = [
        (KeyType::Babe, chain::header(world.next_slot(), &vrf.pre_output, &vrf.proof, Flavour(0))),
        (KeyType::Grandpa, chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 5, Flavour(0))),
        (KeyType::Beefy, chain::commitment(SetId(1), 5, Flavour(0))),
        (KeyType::Para, chain::dispute(SessionIndex(1), 5, true)),
        (KeyType::Babe, proof.clone()),
        (KeyType::Grandpa, proof.clone()),
        (KeyType::Beefy, proof),
    ];
    let mut schemes = BTreeSet::new();
    for (key_type, payload) in payloads {
        let key = world.key(key_type);
        schemes.insert(key.scheme);
        let mut signatures = BTreeSet::new();
        for (nth, client) in clients.iter().enumerate() {
            let reply = client.sign(&world.params(key_type, &payload)).await.unwrap();
            let expected = match (payload.kind(), nth) {
                (PayloadKind::OwnershipProof, _) => SignVerdict::Free,
                (_, 0) => SignVerdict::Granted,
                _ => SignVerdict::Repeated,
            };
            assert_eq!(reply.verdict, expected, "{payload:?}");
            signatures.insert(reply.signature.0);
        }
        assert_eq!(signatures.len(), 1, "{key_type}: {signatures:?}");
        let decoded = payload.decode(&ChainFormat::default()).unwrap();
        assert!(verify(key.scheme, &key.public, decoded.to_sign(), signatures.first().unwrap()));
    }
    assert_eq!(schemes, BTreeSet::from([Scheme::Sr25519, Scheme::Ed25519, Scheme::Ecdsa]));
}
