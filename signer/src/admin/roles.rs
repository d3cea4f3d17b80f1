//! Who may call which admin method: one table, asked at the head of every method.
//!
//! What a [`Change`](signonce_core::Change) takes stands in `signonce_core::roles` and is judged by the state machine
//! once more.

use super::api::{AdminError, AdminErrorCode};
use crate::server::http::Caller;
use http::Extensions;
use signonce_core::{
    Role, State,
    roles::{ADMIN_ACTOR, LOCAL_ACTOR},
};

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

            /// As it is called.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The least role that may call it.
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
    // And what the change itself takes.
    Change = "admin_change", Operator;
    TransferLeadership = "admin_transferLeadership", Operator;
}

/// Who asks, as the audit names them, if they may call `method`.
///
/// # Errors
/// `forbidden`: no admin, or without the role.
pub fn authorize(state: &State, extensions: &Extensions, method: Method) -> Result<String, AdminError> {
    let actor = actor(extensions)?;
    require(state, &actor, method.least_role(), method.name())?;
    Ok(actor)
}

/// Whether `actor` has the role that `what` takes.
///
/// # Errors
/// `forbidden`, with the role it has and the one it takes.
pub fn require(state: &State, actor: &str, needed: Role, what: &str) -> Result<(), AdminError> {
    let role = state.registry().officers().role_of(actor);
    if role >= Some(needed) {
        return Ok(());
    }
    let has = role.map_or_else(|| "no role in this cluster".to_owned(), |role| format!("the role {role}"));
    let message = format!(
        "{actor} has {has}, {what} takes the role {needed}; a key officer can give it with `signonce officers set`"
    );
    Err(AdminError::new(AdminErrorCode::Forbidden, message))
}

/// Who asks.
fn actor(extensions: &Extensions) -> Result<String, AdminError> {
    match extensions.get::<Caller>() {
        Some(Caller::Local { uid }) => Ok(format!("{LOCAL_ACTOR}{uid}")),
        Some(Caller::Certificate(peer)) => match &peer.admin {
            Some(name) => Ok(format!("{ADMIN_ACTOR}{name}")),
            None => Err(AdminError::new(
                AdminErrorCode::Forbidden,
                format!(
                    "the certificate with SPKI fingerprint {} names no admin; issue one with \
                     `signonce certs issue admin <name>`",
                    peer.spki
                ),
            )),
        },
        None => Err(AdminError::new(AdminErrorCode::Forbidden, "nobody is known to ask")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tls::{Fingerprint, PeerIdentity};
    use signonce_core::{Change, Command, RequestId};
    use signonce_protocol::{LogIndex, NodeId};
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
        let raise = Change::RaiseFeatureLevel { level: 2 };
        let set =
            roles.iter().map(|(name, role)| Change::SetOfficer { name: (*name).into(), role: Some(*role) });
        for (at, change) in (1..).zip([raise].into_iter().chain(set)) {
            let request = RequestId { node: NodeId(1), boot: 1, seq: at };
            let command = Command::Change { request, actor: "local:uid=0".into(), time_ms: 0, change };
            state.apply(LogIndex(at), command).unwrap();
        }
        state
    }

    #[test]
    fn only_admins_and_the_local_user_may_ask_and_the_audit_names_them() {
        let state = State::new();
        let ask = |extensions: &Extensions| {
            authorize(&state, extensions, Method::Change).map_err(|error| error.code())
        };
        assert_eq!(ask(&certificate(None, Some("ops"))), Ok("admin:ops".into()));
        assert_eq!(ask(&certificate(Some("validator-a"), None)), Err(AdminErrorCode::Forbidden));
        assert_eq!(ask(&certificate(None, None)), Err(AdminErrorCode::Forbidden));
        assert_eq!(ask(&asked_by(Some(Caller::Local { uid: 1000 }))), Ok("local:uid=1000".into()));
        assert_eq!(ask(&asked_by(None)), Err(AdminErrorCode::Forbidden));
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
    fn every_method_that_is_served_stands_in_the_table() {
        let declared = include_str!("api.rs").split("#[method(name = \"").skip(1);
        let served: BTreeSet<String> =
            declared.map(|rest| format!("admin_{}", rest.split('"').next().unwrap())).collect();
        let table: BTreeSet<String> = Method::ALL.iter().map(|method| method.name().to_owned()).collect();
        for method in Method::ALL {
            println!("{:<28} {}", method.name(), method.least_role());
        }
        assert_eq!(served, table);
    }
}
