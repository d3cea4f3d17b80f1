//! The way to the driver: what streams, the fsync thread and handles have for it.

use crate::spool::Capture;
use signonce_core::State;
use signonce_core::replica::hello::{Hello, HelloReply};
use signonce_driver::{Answer, Event, Request};
use signonce_protocol::NodeId;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// What reaches the consensus thread. Who waits for an answer is known to the shell alone: the driver has names.
pub(crate) enum Input {
    /// For the driver as it is.
    Event(Event),
    /// A peer says hello.
    Hello { hello: Box<Hello>, answer: oneshot::Sender<HelloReply> },
    /// A request of this node's own.
    Submit { request: Request, submitted: Instant, deadline: Instant, answer: oneshot::Sender<Answer> },
    /// Somebody wants the state as it is applied.
    CaptureState(WantsState),
    /// Somebody wants another leader.
    TransferLeadership { to: Option<NodeId>, answer: oneshot::Sender<Option<NodeId>> },
    /// The node stops.
    Stop,
}

/// Takes a look at the state, and the capture of its records.
pub(crate) type WantsState = Box<dyn FnOnce(&State, Capture) + Send>;

/// See the module's text.
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
