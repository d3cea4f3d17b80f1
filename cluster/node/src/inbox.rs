//! The queue to the driver: inputs from streams, the fsync thread and handles.

use crate::spool::Capture;
use signonce_core::State;
use signonce_core::replica::hello::{Hello, HelloReply};
use signonce_driver::{Answer, Event, Request};
use signonce_protocol::NodeId;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// An input to the consensus thread. The shell keeps track of who waits for an answer: the driver knows only numbers.
pub(crate) enum Input {
    /// An event that the driver takes as it is.
    Event(Event),
    /// A hello from a peer.
    Hello { hello: Box<Hello>, answer: oneshot::Sender<HelloReply> },
    /// A request from this node itself.
    Submit { request: Request, submitted: Instant, deadline: Instant, answer: oneshot::Sender<Answer> },
    /// A request for the state as it is applied.
    CaptureState(WantsState),
    /// A request for another leader.
    TransferLeadership { to: Option<NodeId>, answer: oneshot::Sender<Option<NodeId>> },
    /// The node is stopping.
    Stop,
}

/// Receives the state and the capture of its records.
pub(crate) type WantsState = Box<dyn FnOnce(&State, Capture) + Send>;

/// The sending end of the queue to the driver.
#[derive(Clone)]
pub(crate) struct Inbox(UnboundedSender<Input>);

impl Inbox {
    pub(crate) fn new() -> (Self, UnboundedReceiver<Input>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Hands over `input`; without effect once the driver has stopped.
    pub(crate) fn push(&self, input: Input) {
        let _ = self.0.send(input);
    }

    /// Hands over what happened.
    pub(crate) fn tell(&self, event: Event) {
        self.push(Input::Event(event));
    }
}
