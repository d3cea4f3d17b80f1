//! Bringing keys into a cluster: sealed to its members, registered, armed with explicit floors.
//!
//! `keys import`, `keys generate` and the local cluster go this way. The secret is sealed here, in the process that
//! read or made it; the cluster only ever sees the envelope. An interrupted run can be repeated: a key that is
//! registered but not armed yet is then armed.

use crate::admin::{
    api::MemberRow,
    client::{AdminClient, CallError},
};
use signonce_core::{Change, ChangeError, Floors, KeyError, KeyState, Member, Position, SlotClock};
use signonce_keys::{Recipient, RecipientError, SealError, SecretKey, seal};
use signonce_protocol::{ChainId, KeyId, KeyType, LogIndex, NodeId};
use std::time::Duration;

/// How long a member that has just started may take to announce itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a key is not in the cluster. No part of it was lost, so it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The admin API did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A member has not announced a recipient, so it could never use the key.
    #[error(
        "member {0} has not announced its recipient yet, so keys cannot be sealed to it; start it, and try again \
         when `signonce status` shows it"
    )]
    NotAnnounced(NodeId),
    /// A recipient that cannot be read.
    #[error("member {node} announced something other than a recipient: {why}")]
    BadRecipient {
        /// The member.
        node: NodeId,
        /// Why.
        why: RecipientError,
    },
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The key was registered before and does not wait to be armed.
    #[error("key {key} is in the cluster already and is {state}; nothing was changed")]
    AlreadyThere {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
    },
}

/// The recipients that every present member announced, to seal keys to. A member announces itself a moment after it is
/// ready, so this waits for up to 15 s.
///
/// # Errors
/// If a member has not announced itself by then: it could never use a key that was sealed without it.
pub async fn recipients(admin: &AdminClient) -> Result<Vec<Recipient>, EnrollError> {
    let is_present = |row: &&MemberRow| !row.is_removed() && !row.is_invited();
    let announced = |rows: &[MemberRow]| rows.iter().filter(is_present).all(|row| row.announced.is_some());
    let members = admin.members_once(PATIENCE, announced).await?;
    let present = members.iter().filter(is_present);
    recipients_of(present.map(|row| (row.node, row.announced.as_ref())))
}

/// The recipients that these nodes announced.
///
/// # Errors
/// If one of them has not announced itself, or announced something else.
pub fn recipients_of<'a>(
    nodes: impl IntoIterator<Item = (NodeId, Option<&'a Member>)>,
) -> Result<Vec<Recipient>, EnrollError> {
    let recipient = |(node, announced): (NodeId, Option<&Member>)| {
        let member = announced.ok_or(EnrollError::NotAnnounced(node))?;
        member.recipient.parse().map_err(|why| EnrollError::BadRecipient { node, why })
    };
    nodes.into_iter().map(recipient).collect()
}

/// A key that is to be brought into the cluster.
pub struct NewKey {
    /// Its type and public key.
    pub id: KeyId,
    /// The secret.
    pub secret: SecretKey,
    /// The validator it belongs to.
    pub group: Option<String>,
    /// Its first floors.
    pub floors: Floors,
}

/// Seals, registers and arms one key. Returns the log entry that armed it.
///
/// # Errors
/// Any [`EnrollError`]. After `unknownOutcome` or a broken connection, call it again with the same key.
pub async fn enroll(
    admin: &AdminClient,
    chain: ChainId,
    recipients: &[Recipient],
    key: &NewKey,
) -> Result<LogIndex, EnrollError> {
    let NewKey { id, secret, group, floors } = key;
    let sealed = seal(secret, id, &chain, recipients)?.into_bytes().into();
    let register =
        Change::RegisterKey { id: *id, scheme: secret.scheme(), chain, group: group.clone(), sealed };
    match admin.change(&register).await {
        Ok(_) => {}
        // Registered by an earlier run that ended before it armed the key.
        Err(error) if existing_state(&error) == Some(KeyState::Registered) => {}
        Err(error) => {
            return Err(match existing_state(&error) {
                Some(state) => EnrollError::AlreadyThere { key: *id, state },
                None => error.into(),
            });
        }
    }
    Ok(admin.change(&Change::ArmKey { id: *id, floors: floors.clone() }).await?.at)
}

/// The present state of the key, if the change was refused because it exists.
fn existing_state(error: &CallError) -> Option<KeyState> {
    match error {
        CallError::Failed(failed) => match &failed.data.change {
            Some(ChangeError::Key(KeyError::KeyExists { state, .. })) => Some(*state),
            _ => None,
        },
        _ => None,
    }
}

/// The floors of a key that never signed anything: the next slot, and zero for votes. At zero the first vote says where
/// the chain is; from 1 on, a vote on a chain that is far along would be a jump.
pub fn new_key_floors(key_type: KeyType, clock: SlotClock<'_>, unix_ms: u64) -> Floors {
    let zero = key_type.marks().filter_map(Position::zero);
    zero.map(|zero| match zero.slot() {
        Some(_) => zero.with_slot(clock.slots_after(unix_ms, 1)),
        None => zero,
    })
    .collect()
}
