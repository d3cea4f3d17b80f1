//! Plain HTTP for probes and scrapes.
//!
//! Callers do not identify themselves here, so all remain strangers ([`Places`]): one request for each connection, a
//! short time for all of it, few connections from one address, and the oldest of the most crowded address gives way.

use crate::{endpoint::accept_failed, stall::Unstalled};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use signonce_cluster::places::{PlaceCounts, Places, Rules};
use std::time::Duration;
use tokio::net::TcpListener;

/// The places of a port for probes and scrapes, and how long a request with its answer may take altogether.
pub const PROBE_PLACES: Rules =
    Rules { strangers: 48, per_address: 16, patience: Duration::from_secs(10), known: 0 };
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(3);
/// The largest head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// Serves `routes` until the process ends (probes are answered while a node drains).
pub async fn serve(listener: TcpListener, routes: Router, counts: PlaceCounts) {
    let places = Places::<()>::new(PROBE_PLACES, counts);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let place = places.enter(Some(address.ip()));
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(Unstalled::new(stream)), service);
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "a probe or scrape ended early");
                    }
                }
                why = place.gives_way() => tracing::debug!(%address, "a probe or scrape was ended: {why}"),
            }
        });
    }
}
