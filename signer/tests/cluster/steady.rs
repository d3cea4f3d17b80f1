//! Clients with a key each that ask for one vote after the other and never want the same duty: every request of theirs
//! must be signed, whatever happens to single nodes meanwhile.

use crate::common::{World, until};
use signonce_cli::{commands::demo::chain, dev::LocalOptions};
use signonce_protocol::{
    RawPayload,
    client::SignerClient,
    rpc::{SignParams, SignVerdict},
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::task::JoinSet;

const CLIENTS: [&str; 4] = ["v1", "v2", "v3", "v4"];

/// See the module's text.
pub struct Steady {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Steady {
    /// A cluster with such clients.
    pub async fn begin() -> (World, Self) {
        let world = World::with(LocalOptions {
            validators: CLIENTS.len(),
            clients: CLIENTS.map(str::to_owned).to_vec(),
            ..LocalOptions::default()
        })
        .await;
        let mut steady = Self { stop: Arc::default(), served: Arc::default(), tasks: JoinSet::new() };
        let keys = world.keys.iter().filter(|key| key.key_type == GRANDPA);
        for (name, key) in CLIENTS.into_iter().zip(keys) {
            let params = SignParams { key: key.public, ..world.params(GRANDPA, &vote(1)) };
            let (stop, served) = (Arc::clone(&steady.stop), Arc::clone(&steady.served));
            steady.tasks.spawn(ask_on(world.client(name), params, stop, served));
        }
        (world, steady)
    }

    /// Waits until so many more requests were served.
    pub async fn serves(&self, more: usize) {
        let goal = self.served.load(Ordering::Relaxed) + more;
        until("requests are served", async || (self.served.load(Ordering::Relaxed) >= goal).then_some(()))
            .await;
    }

    /// Ends it.
    ///
    /// # Panics
    /// If any request was not signed.
    pub async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.expect("no request failed");
        }
    }
}

async fn ask_on(client: SignerClient, params: SignParams, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) {
    for round in (1..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let params = SignParams { payload: vote(round), ..params.clone() };
        let reply = client.sign(&params).await.unwrap();
        // Repeated where the first answer was lost with its connection and the client asked again.
        assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));
        served.fetch_add(1, Ordering::Relaxed);
    }
}

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, chain::Flavour(0))
}
