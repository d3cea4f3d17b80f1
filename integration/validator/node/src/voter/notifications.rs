//! The network's notification service for GRANDPA, lent to one voter after the other.
//!
//! A voter consumes the service it is given, and litep2p's cannot be cloned. A [`Lease`] gives it back when it is
//! dropped, and tells the next voter of the peers that are connected already, and what they sent lately: to them it
//! is the same node as before, so they would not send it again for minutes, and a round may need it.

use crate::judge::votes::Tap;
use polkadot_sdk::*;
use sc_network::{
    PeerId, ProtocolName,
    error::Error,
    service::traits::{Direction, MessageSink, NotificationEvent, NotificationService, ValidationResult},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

/// How much of what was received is kept for the next voter: some rounds of a set of a thousand voters.
const KEPT_NOTIFICATIONS: usize = 8_192;
const KEPT_BYTES: usize = 16 << 20;

/// Where the service is while no voter has it.
#[derive(Clone, Debug)]
pub struct Notifications(Arc<Home>);

#[derive(Debug)]
struct Home {
    kept: Mutex<Option<Kept>>,
    returned: Notify,
    protocol: ProtocolName,
    tap: Tap,
}

#[derive(Debug)]
struct Kept {
    service: Box<dyn NotificationService>,
    peers: HashMap<PeerId, Connected>,
    received: Received,
}

impl Kept {
    /// What has to be told to somebody who starts to listen now.
    fn story(&self) -> VecDeque<NotificationEvent> {
        let opened = self.peers.iter().map(|(peer, connected)| connected.event(*peer));
        let received = self.received.latest.iter().filter(|(peer, _)| self.peers.contains_key(peer)).map(
            |(peer, notification)| NotificationEvent::NotificationReceived {
                peer: *peer,
                notification: notification.clone(),
            },
        );
        opened.chain(received).collect()
    }
}

/// The latest notifications, oldest first.
#[derive(Debug, Default)]
struct Received {
    latest: VecDeque<(PeerId, Vec<u8>)>,
    bytes: usize,
}

impl Received {
    fn push(&mut self, peer: PeerId, notification: &[u8]) {
        self.bytes += notification.len();
        self.latest.push_back((peer, notification.to_vec()));
        while self.latest.len() > KEPT_NOTIFICATIONS || self.bytes > KEPT_BYTES {
            let Some((_, oldest)) = self.latest.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
}

/// What was said of a peer when it connected.
#[derive(Clone, Debug)]
struct Connected {
    direction: Direction,
    handshake: Vec<u8>,
    negotiated_fallback: Option<ProtocolName>,
}

impl Connected {
    fn event(&self, peer: PeerId) -> NotificationEvent {
        let Connected { direction, handshake, negotiated_fallback } = self.clone();
        NotificationEvent::NotificationStreamOpened { peer, direction, handshake, negotiated_fallback }
    }
}

impl Notifications {
    pub fn new(service: Box<dyn NotificationService>, tap: Tap) -> Self {
        let protocol = service.protocol().clone();
        let kept = Kept { service, peers: HashMap::new(), received: Received::default() };
        Self(Arc::new(Home { kept: Mutex::new(Some(kept)), returned: Notify::new(), protocol, tap }))
    }

    /// Waits until it is here, which it is when the last voter has gone with all its parts.
    pub async fn lend(&self) -> Lease {
        loop {
            let returned = self.0.returned.notified();
            if let Some(kept) = self.0.kept.lock().expect("no panic while it is held").take() {
                let replay = kept.story();
                return Lease { home: self.0.clone(), kept: Some(kept), replay };
            }
            returned.await;
        }
    }

    /// Lets time pass without a voter. The service has to be asked, or nobody could connect.
    pub async fn wait(&self, time: Duration) {
        let receive = async {
            let mut lease = self.lend().await;
            while let Some(event) = lease.next_event().await {
                if let NotificationEvent::ValidateInboundSubstream { result_tx, .. } = event {
                    // If the network does not wait for the answer any more, it needs none.
                    let _ = result_tx.send(ValidationResult::Accept);
                }
            }
            std::future::pending::<()>().await
        };
        let _: Result<(), _> = tokio::time::timeout(time, receive).await;
    }
}

/// The service while a voter has it.
#[derive(Debug)]
pub struct Lease {
    home: Arc<Home>,
    /// Taken only when dropped.
    kept: Option<Kept>,
    /// What the voter has missed.
    replay: VecDeque<NotificationEvent>,
}

impl Lease {
    fn kept(&self) -> &Kept {
        self.kept.as_ref().expect("taken only when dropped")
    }

    fn kept_mut(&mut self) -> &mut Kept {
        self.kept.as_mut().expect("taken only when dropped")
    }

    fn note(&mut self, event: &NotificationEvent) {
        match event {
            NotificationEvent::NotificationStreamOpened {
                peer,
                direction,
                handshake,
                negotiated_fallback,
            } => {
                let connected = Connected {
                    direction: *direction,
                    handshake: handshake.clone(),
                    negotiated_fallback: negotiated_fallback.clone(),
                };
                self.kept_mut().peers.insert(*peer, connected);
            }
            NotificationEvent::NotificationStreamClosed { peer } => {
                self.kept_mut().peers.remove(peer);
            }
            NotificationEvent::NotificationReceived { peer, notification } => {
                self.home.tap.see(notification);
                self.kept_mut().received.push(*peer, notification);
            }
            NotificationEvent::ValidateInboundSubstream { .. } => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.home.kept.lock().expect("no panic while it is held") = self.kept.take();
        self.home.returned.notify_one();
    }
}

#[async_trait::async_trait]
impl NotificationService for Lease {
    async fn open_substream(&mut self, peer: PeerId) -> Result<(), ()> {
        self.kept_mut().service.open_substream(peer).await
    }

    async fn close_substream(&mut self, peer: PeerId) -> Result<(), ()> {
        self.kept_mut().service.close_substream(peer).await
    }

    fn send_sync_notification(&mut self, peer: &PeerId, notification: Vec<u8>) {
        self.home.tap.see(&notification);
        self.kept_mut().service.send_sync_notification(peer, notification);
    }

    async fn send_async_notification(&mut self, peer: &PeerId, notification: Vec<u8>) -> Result<(), Error> {
        self.home.tap.see(&notification);
        self.kept_mut().service.send_async_notification(peer, notification).await
    }

    async fn set_handshake(&mut self, handshake: Vec<u8>) -> Result<(), ()> {
        self.kept_mut().service.set_handshake(handshake).await
    }

    fn try_set_handshake(&mut self, handshake: Vec<u8>) -> Result<(), ()> {
        self.kept_mut().service.try_set_handshake(handshake)
    }

    async fn next_event(&mut self) -> Option<NotificationEvent> {
        if let Some(event) = self.replay.pop_front() {
            return Some(event);
        }
        let event = self.kept_mut().service.next_event().await?;
        self.note(&event);
        Some(event)
    }

    /// There is one lease at a time.
    fn clone(&mut self) -> Result<Box<dyn NotificationService>, ()> {
        Err(())
    }

    fn protocol(&self) -> &ProtocolName {
        &self.home.protocol
    }

    fn message_sink(&self, peer: &PeerId) -> Option<Box<dyn MessageSink>> {
        self.kept().service.message_sink(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::votes;
    use futures::{FutureExt, executor::block_on};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    /// A network that tells what the test says, and takes everything.
    #[derive(Debug)]
    struct Told(UnboundedReceiver<NotificationEvent>, ProtocolName);

    #[async_trait::async_trait]
    impl NotificationService for Told {
        async fn open_substream(&mut self, _: PeerId) -> Result<(), ()> {
            Ok(())
        }

        async fn close_substream(&mut self, _: PeerId) -> Result<(), ()> {
            Ok(())
        }

        fn send_sync_notification(&mut self, _: &PeerId, _: Vec<u8>) {}

        async fn send_async_notification(&mut self, _: &PeerId, _: Vec<u8>) -> Result<(), Error> {
            Ok(())
        }

        async fn set_handshake(&mut self, _: Vec<u8>) -> Result<(), ()> {
            Ok(())
        }

        fn try_set_handshake(&mut self, _: Vec<u8>) -> Result<(), ()> {
            Ok(())
        }

        async fn next_event(&mut self) -> Option<NotificationEvent> {
            self.0.recv().await
        }

        fn clone(&mut self) -> Result<Box<dyn NotificationService>, ()> {
            Err(())
        }

        fn protocol(&self) -> &ProtocolName {
            &self.1
        }

        fn message_sink(&self, _: &PeerId) -> Option<Box<dyn MessageSink>> {
            None
        }
    }

    fn opened(peer: PeerId) -> NotificationEvent {
        let connected =
            Connected { direction: Direction::Inbound, handshake: vec![4], negotiated_fallback: None };
        connected.event(peer)
    }

    fn said(peer: PeerId, what: u8) -> NotificationEvent {
        NotificationEvent::NotificationReceived { peer, notification: vec![what] }
    }

    #[test]
    fn the_next_voter_hears_of_the_peers_that_are_still_there_and_what_they_said() {
        let (network, told) = unbounded_channel();
        let service = Told(told, "grandpa".into());
        let notifications = Notifications::new(Box::new(service), votes::Tap::closed());
        let (gone, stays) = (PeerId::random(), PeerId::random());
        let events = [
            opened(gone),
            opened(stays),
            said(gone, 1),
            said(stays, 2),
            said(stays, 3),
            NotificationEvent::NotificationStreamClosed { peer: gone },
        ];
        let number = events.len();
        events.into_iter().for_each(|event| network.send(event).unwrap());

        let mut first = block_on(notifications.lend());
        for _ in 0..number {
            assert!(block_on(first.next_event()).is_some());
        }
        assert!(notifications.lend().now_or_never().is_none(), "there is one lease at a time");
        drop(first);

        let mut second = block_on(notifications.lend());
        let mut heard = || match second.next_event().now_or_never()? {
            Some(NotificationEvent::NotificationStreamOpened { peer, handshake, .. }) => {
                Some((peer, handshake))
            }
            Some(NotificationEvent::NotificationReceived { peer, notification }) => {
                Some((peer, notification))
            }
            other => panic!("neither an open stream nor a notification: {other:?}"),
        };
        assert_eq!(heard(), Some((stays, vec![4])), "the handshake");
        assert_eq!(heard(), Some((stays, vec![2])));
        assert_eq!(heard(), Some((stays, vec![3])));
        assert_eq!(heard(), None);
    }

    #[test]
    fn only_the_latest_notifications_are_kept() {
        let mut received = Received::default();
        let peer = PeerId::random();
        (0..KEPT_NOTIFICATIONS + 5).for_each(|_| received.push(peer, &[1]));
        assert_eq!((received.latest.len(), received.bytes), (KEPT_NOTIFICATIONS, KEPT_NOTIFICATIONS));
        received.push(peer, &vec![0; KEPT_BYTES]);
        assert_eq!((received.latest.len(), received.bytes), (1, KEPT_BYTES));
    }
}
