//! Who may call which admin method: one table, consulted at the start of every method.
//!
//! The role that a [`Change`](signonce_core::Change) needs is in [`ChangeKind`](signonce_core::ChangeKind); the state
//! machine checks it again.

use http::Extensions;
use signonce_core::{ChangeError, LOCAL_ACTOR, Role, State, admin_actor, is_name};
use signonce_listen::caller::Caller;
use signonce_shared::admin::api::{AdminError, AdminErrorCode, AdminErrorData};

macro_rules! methods {
    ($($variant:ident = $name:literal, $role:ident;)*) => {
        /// The admin methods.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name by which it is called.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The lowest role that may call it.
            pub const fn least_role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)* }
            }
        }
    };
}

methods! {
    Status = "admin_status", Viewer;
    Chains = "admin_chains", Viewer;
    Keys = "admin_keys", Viewer;
    Clients = "admin_clients", Viewer;
    Members = "admin_members", Viewer;
    Overview = "admin_overview", Viewer;
    Officers = "admin_officers", Viewer;
    Audit = "admin_audit", Viewer;
    Backup = "admin_backup", Operator;
    ExportWatermarks = "admin_exportWatermarks", Operator;
    Document = "admin_document", Operator;
    // The change itself may need more.
    Change = "admin_change", Operator;
    TransferLeadership = "admin_transferLeadership", Operator;
}

/// The caller's name for the audit, if the caller may call `method`.
///
/// # Errors
/// `forbidden`: not an admin, or without the role.
pub fn authorize(state: &State, extensions: &Extensions, method: Method) -> Result<String, AdminError> {
    let actor = actor(extensions)?;
    require(state, &actor, method.least_role(), method.name())?;
    Ok(actor)
}

/// Checks that `actor` has the role that `what` needs.
///
/// # Errors
/// `forbidden`, with the actual and the needed role, or why the certificate is not the officer's.
pub fn require(state: &State, actor: &str, needed: Role, what: &str) -> Result<(), AdminError> {
    let role = state.registry().role_of(actor).map_err(|why| {
        let refused = AdminError::from(ChangeError::from(why));
        AdminError {
            data: Box::new(AdminErrorData { code: AdminErrorCode::Forbidden, ..*refused.data }),
            ..refused
        }
    })?;
    if role >= Some(needed) {
        return Ok(());
    }
    let has = role.map_or_else(|| "no role in this cluster".to_owned(), |role| format!("the role {role}"));
    let message = format!(
        "{actor} has {has}, but {what} needs the role {needed}; a key officer can give it with `signonce officers set`"
    );
    Err(AdminError::new(AdminErrorCode::Forbidden, message))
}

/// The caller, as the log names it.
fn actor(extensions: &Extensions) -> Result<String, AdminError> {
    match extensions.get::<Caller>() {
        Some(Caller::Local { uid }) => Ok(format!("{LOCAL_ACTOR}{uid}")),
        Some(Caller::Certificate(peer)) => match &peer.admin {
            // Only such names can be an officer's, and none of them looks like the name of a key.
            Some(name) if !is_name(name) => Err(AdminError::new(
                AdminErrorCode::Forbidden,
                format!(
                    "{name:?} is not a name for an admin: use 1 to 64 of a-z A-Z 0-9 . _ - @, and do not begin with 0x"
                ),
            )),
            Some(name) => Ok(admin_actor(name, &peer.spki)),
            None => Err(AdminError::new(
                AdminErrorCode::Forbidden,
                format!(
                    "the certificate with SPKI fingerprint {} names no admin; issue one with \
                     `signonce certs issue admin <name>`",
                    peer.spki
                ),
            )),
        },
        Some(Caller::Dialled { .. }) | None => {
            Err(AdminError::new(AdminErrorCode::Forbidden, "the request does not say who makes it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{Change, ChangeKind, Command, RequestId, Second};
    use signonce_protocol::{LogIndex, NodeId};
    use signonce_shared::tls::Fingerprint;
    use signonce_shared::tls::PeerIdentity;
    use std::collections::BTreeSet;

    fn asked_by(caller: Option<Caller>) -> Extensions {
        let mut extensions = Extensions::new();
        if let Some(caller) = caller {
            extensions.insert(caller);
        }
        extensions
    }

    fn certificate(client: Option<&str>, admin: Option<&str>) -> Extensions {
        let own = |name: Option<&str>| name.map(ToOwned::to_owned);
        let peer = PeerIdentity { spki: Fingerprint([7; 32]), client: own(client), admin: own(admin) };
        asked_by(Some(Caller::Certificate(peer)))
    }

    /// A state in which these have roles.
    fn officers(roles: &[(&str, Role)]) -> State {
        let mut state = State::new();
        let set =
            roles.iter().map(|(name, role)| Change::SetOfficer { name: (*name).into(), role: Some(*role) });
        set.for_each(|change| apply(&mut state, change));
        state
    }

    fn apply(state: &mut State, change: Change) {
        let at = LogIndex(state.last_command().map_or(1, |last| last.0 + 1));
        let request = RequestId { node: NodeId(1), boot: 1, seq: at.0 };
        let command = Command::Change { request, actor: "local:uid=0".into(), time_ms: 0, change };
        state.apply(at, command).unwrap();
    }

    #[test]
    fn only_admins_and_the_local_user_may_ask_and_the_audit_names_them() {
        let state = State::new();
        let ask = |extensions: &Extensions| {
            authorize(&state, extensions, Method::Change).map_err(|error| error.code())
        };
        let actor = format!("admin:ops#0x{}", "07".repeat(32));
        assert_eq!(ask(&certificate(None, Some("ops"))), Ok(actor), "the key of the certificate too");
        assert_eq!(ask(&certificate(Some("validator-a"), None)), Err(AdminErrorCode::Forbidden));
        assert_eq!(ask(&certificate(None, None)), Err(AdminErrorCode::Forbidden));
        assert_eq!(ask(&asked_by(Some(Caller::Local { uid: 1000 }))), Ok("local:uid=1000".into()));
        assert_eq!(ask(&asked_by(None)), Err(AdminErrorCode::Forbidden));
    }

    #[test]
    fn a_name_that_looks_like_a_name_with_a_key_is_nobodys() {
        let forged = format!("ops#0x{}", "07".repeat(32));
        let asked = authorize(&State::new(), &certificate(None, Some(&forged)), Method::Status);
        assert_eq!(asked.map_err(|error| error.code()), Err(AdminErrorCode::Forbidden));
    }

    #[test]
    fn a_pinned_officer_takes_its_key_whatever_the_certificate_says() {
        let mut state = officers(&[("k", Role::KeyOfficer), ("o", Role::Operator)]);
        let pin = |name: &str, key: [u8; 32]| Change::PinOfficer {
            name: name.into(),
            certificate: Fingerprint(key),
            role: None,
        };
        let mut ask = |change: Option<Change>, name: &str| {
            if let Some(change) = change {
                apply(&mut state, change);
            }
            authorize(&state, &certificate(None, Some(name)), Method::Status).map_err(|error| error.message)
        };
        // `certificate` shows the key 7.
        let actor = ask(Some(pin("k", [7; 32])), "k").unwrap();
        assert_eq!(actor, format!("admin:k#0x{}", "07".repeat(32)));
        let why = ask(None, "o").unwrap_err();
        assert!(why.contains("says o") && why.contains("no key that o is known by"), "{why}: it is k's");
        let why = ask(Some(pin("o", [8; 32])), "o").unwrap_err();
        assert!(why.contains("officers rotate o"), "{why}");
    }

    #[test]
    fn each_method_takes_its_role_once_there_are_officers() {
        let roles = [("k", Role::KeyOfficer), ("o", Role::Operator), ("v", Role::Viewer)];
        let state = officers(&roles);
        for method in Method::ALL {
            for (name, role) in roles {
                let asked = authorize(&state, &certificate(None, Some(name)), *method);
                assert_eq!(asked.is_ok(), role >= method.least_role(), "{name}: {method:?}");
            }
            assert!(authorize(&state, &certificate(None, Some("stranger")), *method).is_err());
            assert!(authorize(&state, &asked_by(Some(Caller::Local { uid: 0 })), *method).is_ok());
        }
    }

    #[test]
    #[allow(clippy::print_stdout)]
    fn every_method_that_is_served_stands_in_the_table() {
        let declared = include_str!("../../../shared/src/admin/api.rs").split("#[method(name = \"").skip(1);
        let served: BTreeSet<String> =
            declared.map(|rest| format!("admin_{}", rest.split('"').next().unwrap())).collect();
        let table: BTreeSet<String> = Method::ALL.iter().map(|method| method.name().to_owned()).collect();
        for method in Method::ALL {
            println!("{:<28} {}", method.name(), method.least_role());
        }
        assert_eq!(served, table);
    }

    #[test]
    fn the_page_for_operators_shows_the_table_of_changes_as_it_is() {
        let page = include_str!("../../../../docs/operate/clients.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let shown: BTreeSet<(String, String, String)> = rows
            .filter_map(|(name, rest)| {
                let [_, role, two] = rest.trim_end_matches('|').split('|').collect::<Vec<_>>()[..] else {
                    return None;
                };
                let two = two.split_whitespace().next().unwrap_or_default();
                Some((name.into(), role.trim().into(), two.into()))
            })
            .collect();
        let row = |kind: &ChangeKind| {
            let two = match kind.second() {
                Second::Never => "no",
                Second::Always => "yes",
                Second::Depends => "if",
            };
            Some((kind.name().to_owned(), kind.least_role()?.name().to_owned(), two.to_owned()))
        };
        assert_eq!(shown, ChangeKind::ALL.iter().filter_map(row).collect());
    }
}
