//! The work of a restore: ordinary changes, in an order in which every interruption leaves something safe. Keys are
//! armed last. Steps that are already done are skipped, so the same command continues where the last run ended.

use super::{
    KeyLine,
    floors::{Outcome, Plan, PlannedKey},
};
use anyhow::Context as _;
use signonce_core::{
    Barred, BarredPlace, BuriedClient, BuriedKey, Change, ClientState, Fingerprint, Halt, KeyState, LeftKey,
    RestoreStep, Retiming, State,
};
use signonce_keys::{NodeIdentity, Recipient, SealedKey};
use signonce_protocol::KeyId;
use signonce_shared::{
    admin::client::{AdminClient, CallError},
    backup::Verified,
};
use std::collections::BTreeMap;

/// The most tombstones or floors in one change.
const AT_A_TIME: usize = 1_000;

/// Seals the key to the new members, unless it was removed or is in the cluster already.
pub(super) fn reseal(
    state: &State,
    planned: PlannedKey,
    identity: &NodeIdentity,
    recipients: &[Recipient],
) -> anyhow::Result<PlannedKey> {
    if planned.line.outcome == Outcome::Removed || planned.is_there {
        return Ok(planned);
    }
    let id = planned.line.key;
    let key = state.key(&id).context("the plan is made of the state's keys")?;
    let sealed = SealedKey::from_bytes(key.sealed.as_bytes().to_vec())?;
    let sealed = signonce_keys::reseal(&sealed, identity, &id, &key.chain, recipients).context(
        "nothing was restored: a key of the backup does not open with the identity that was given",
    )?;
    Ok(PlannedKey { sealed: Some(sealed.into_bytes()), ..planned })
}

/// Whether an earlier run has finished: only keys are then left to be armed.
async fn is_finished(admin: &AdminClient) -> anyhow::Result<bool> {
    Ok(admin.status().await?.restored_from.is_some_and(|origin| origin.finished.is_some()))
}

/// Tells the new cluster what it is going to hold, before anything of the backup is in it.
pub(super) async fn begin(admin: &AdminClient, backup: &Verified, drill: bool) -> anyhow::Result<()> {
    if !is_finished(admin).await? {
        let begin = if drill { RestoreStep::BeginDrill } else { RestoreStep::Begin };
        admin.change(&Change::Restore(begin(backup.name))).await?;
    }
    Ok(())
}

pub(super) async fn restore(
    admin: &AdminClient,
    backup: &Verified,
    mut plan: Plan,
) -> anyhow::Result<Vec<KeyLine>> {
    let state = &backup.state;
    let finished = is_finished(admin).await?;
    // After that only keys are left to be armed: operators may have changed everything else since.
    if !finished {
        chains(admin, state).await?;
    }
    let registered: Vec<(KeyId, Vec<u8>)> =
        plan.keys.iter().filter_map(|planned| Some((planned.line.key, planned.sealed.clone()?))).collect();
    for (id, sealed) in registered {
        let key = state.key(&id).context("the plan is made of the state's keys")?;
        let (scheme, chain, group) = (key.scheme, key.chain, key.group.clone());
        admin.change(&Change::RegisterKey { id, scheme, chain, group, sealed: sealed.into() }).await?;
    }
    if !finished {
        bury(admin, state).await?;
        bar(admin, state).await?;
        clients(admin, state).await?;
        leave(admin, &plan).await?;
    }
    arm(admin, &mut plan).await?;
    if !finished {
        let limits = Some(state.registry().default_limits());
        admin.change(&Change::SetClientLimits { name: None, limits }).await?;
        admin.change(&Change::Restore(RestoreStep::Finish)).await?;
        officers(admin, state)
            .await
            .context("only the officers are missing: give them their roles by hand")?;
    }
    Ok(plan.keys.into_iter().map(|planned| planned.line).collect())
}

/// Records what the backup knows of keys, before the first of them is armed.
async fn leave(admin: &AdminClient, plan: &Plan) -> anyhow::Result<()> {
    let left: Vec<LeftKey> = plan.keys.iter().filter_map(|planned| planned.left.clone()).collect();
    for keys in left.chunks(AT_A_TIME) {
        admin.change(&Change::Restore(RestoreStep::Leave { keys: keys.to_vec() })).await?;
    }
    Ok(())
}

/// Arms what is to be armed, or proposes it where that needs two officers.
async fn arm(admin: &AdminClient, plan: &mut Plan) -> anyhow::Result<()> {
    for PlannedKey { line, .. } in plan.keys.iter_mut().filter(|p| p.line.outcome == Outcome::Armed) {
        let floors = line.to.clone().unwrap_or_default();
        match admin.change(&Change::ArmKey { id: line.key, floors }).await {
            Ok(_) => {}
            Err(CallError::Proposed { id }) => {
                line.outcome = Outcome::Proposed;
                line.next = Some(format!(
                    "it signs once another key officer says so: signonce proposals approve {id}"
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn chains(admin: &AdminClient, state: &State) -> anyhow::Result<()> {
    let there = admin.chains().await?;
    for chain in state.chains() {
        let here = there.iter().find(|row| row.genesis == chain.genesis);
        if here.is_none() {
            admin.change(&Change::AddChain(chain.clone())).await?;
        }
        let known = here.map_or(0, |row| row.retimings.len());
        for retiming in state.registry().retimings(&chain.genesis).iter().skip(known) {
            let Retiming { from_ms, slot_duration_ms, .. } = *retiming;
            let chain = chain.genesis;
            admin.change(&Change::RetimeChain { chain, from_ms, slot_duration_ms }).await?;
        }
    }
    Ok(())
}

/// Adds the tombstones: what was removed can never come back here either.
async fn bury(admin: &AdminClient, state: &State) -> anyhow::Result<()> {
    let keys = state.keys().filter(|key| key.state == KeyState::Removed).map(|key| BuriedKey {
        id: key.id,
        scheme: key.scheme,
        chain: key.chain,
        group: key.group.clone(),
    });
    let clients = state.clients().filter(|client| client.state == ClientState::Removed);
    let removed = clients.map(|client| BuriedClient { name: client.name.clone(), spki: client.spki });
    // Replaced certificates of clients that still exist.
    let revoked = state.clients().flat_map(|client| {
        let taken = state.registry().revoked_certificates(client.id).iter();
        taken.map(|spki| BuriedClient { name: client.name.clone(), spki: *spki })
    });
    let clients = removed.chain(revoked);
    for keys in keys.collect::<Vec<_>>().chunks(AT_A_TIME) {
        let step = RestoreStep::Bury { keys: keys.to_vec(), clients: Vec::new() };
        admin.change(&Change::Restore(step)).await?;
    }
    for clients in clients.collect::<Vec<_>>().chunks(AT_A_TIME) {
        let step = RestoreStep::Bury { keys: Vec::new(), clients: clients.to_vec() };
        admin.change(&Change::Restore(step)).await?;
    }
    let officers = state.registry().officer_pins();
    let revoked = officers.flat_map(|pin| pin.revoked.iter().map(|key| (pin.name.clone(), *key)));
    for revoked in revoked.collect::<Vec<_>>().chunks(AT_A_TIME) {
        let step = RestoreStep::BuryOfficers { revoked: revoked.to_vec() };
        admin.change(&Change::Restore(step)).await?;
    }
    Ok(())
}

/// Bars what was shown to be signed and is in no ledger, so that it is not signed here either.
async fn bar(admin: &AdminClient, state: &State) -> anyhow::Result<()> {
    let mut barred: BTreeMap<KeyId, Barred> =
        state.registry().barred().map(|barred| (barred.key, barred.clone())).collect();
    for Halt { key, duty, digest, at, .. } in state.registry().halts() {
        let of_key = barred.entry(*key).or_insert_with(|| Barred { key: *key, places: Vec::new() });
        of_key.places.push(BarredPlace { duty: duty.clone(), digest: *digest, at: *at });
    }
    let living = |key: &KeyId| state.key(key).is_some_and(|key| key.state != KeyState::Removed);
    for (_, barred) in barred.into_iter().filter(|(key, _)| living(key)) {
        admin.change(&Change::Restore(RestoreStep::Bar { barred: vec![barred] })).await?;
    }
    Ok(())
}

async fn clients(admin: &AdminClient, state: &State) -> anyhow::Result<()> {
    let there = admin.clients().await?;
    let present = |spki: &Fingerprint| there.iter().find(|row| row.spki == *spki);
    for client in state.clients().filter(|client| client.state == ClientState::Active) {
        let (name, spki, rights) = (client.name.clone(), client.spki, client.rights.clone());
        let row = present(&spki);
        if row.is_none() {
            admin.change(&Change::AddClient { name: name.clone(), spki, rights }).await?;
        }
        let allowance = state.registry().key_allowance(client.id).cloned();
        if allowance.is_some() && row.is_none_or(|row| row.key_allowance.is_none()) {
            admin.change(&Change::SetKeyAllowance { name: name.clone(), allowance }).await?;
        }
        if row.is_some() {
            continue; // An earlier run has brought the rest, or an operator has changed it since.
        }
        if let Some(spki) = state.registry().next_certificate(client.id) {
            admin.change(&Change::RotateClient { name: name.clone(), spki: *spki }).await?;
        }
        if let Some(limits) = state.registry().own_limits(client.id) {
            let (name, limits) = (Some(name), Some(limits));
            admin.change(&Change::SetClientLimits { name, limits }).await?;
        }
    }
    Ok(())
}

/// Restores the officers. The last step: from then on the operator needs the role for it.
async fn officers(admin: &AdminClient, state: &State) -> anyhow::Result<()> {
    let officers = state.registry().officers();
    // Key officers first: the first name ends the time in which everybody is one.
    let mut roles: Vec<_> = officers.roles.iter().collect();
    roles.sort_by_key(|(_, role)| std::cmp::Reverse(**role));
    for (name, role) in roles {
        let (name, role) = (name.clone(), Some(*role));
        let Some(pin) = state.registry().officer_pin(&name) else {
            admin.change(&Change::SetOfficer { name, role }).await?;
            continue;
        };
        if let Some(certificate) = pin.certificate {
            admin.change(&Change::PinOfficer { name: name.clone(), certificate, role }).await?;
        }
        if let Some(certificate) = pin.next {
            admin.change(&Change::RotateOfficer { name, certificate }).await?;
        }
    }
    if officers.require_approval {
        admin.change(&Change::RequireApproval { on: true }).await?;
    }
    Ok(())
}
