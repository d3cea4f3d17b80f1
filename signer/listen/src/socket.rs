//! One WebSocket: messages in, answers and events out.
//!
//! Calls run concurrently up to a limit; while it is reached, nothing more is read: a caller that asks faster than it
//! is answered, or does not read its answers, waits in its own queue and not in this node's memory. A message that is
//! too large is answered like any other and ends the connection, as what follows it is not parsed.

use crate::calls::{Calls, Line, too_large};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, StreamExt as _, stream};
use http::Extensions;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jsonrpsee::core::server::MethodSink;
use serde_json::value::RawValue;
use signonce_protocol::rpc::MAX_REQUEST_BYTES;
use soketto::{
    Incoming, Receiver, Sender, base, connection::Error, data::ByteSlice125, handshake::http::Server,
};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::BufStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

/// The most calls of one connection at a time. More than the claims that a client may have under way by default.
const CALLS: usize = 512;
/// The most answers and events that wait to be written; others wait where they are made.
const UNWRITTEN: usize = 16;
/// How often the other side is pinged; one that says nothing for three times as long counts as gone.
const PING: Duration = Duration::from_secs(15);

static CONNECTIONS: AtomicUsize = AtomicUsize::new(1);

/// How many bytes of a too large message are discarded, and for how long, so that its sender gets to read the answer.
const LINGER: (u64, Duration) = (16 << 20, Duration::from_secs(2));

/// The connection's bytes. Clones share them, as soketto keeps one.
#[derive(Clone)]
struct Stream(Arc<Mutex<Compat<BufStream<TokioIo<Upgraded>>>>>);

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Compat<BufStream<TokioIo<Upgraded>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_close(cx)
    }
}

/// What was received.
enum Message {
    Data(Vec<u8>),
    Pong,
    TooLarge,
    /// Not a WebSocket frame.
    Broken,
}

/// Why nothing more is read.
enum Ended {
    Gone,
    TooLarge,
    Stopping,
}

/// Serves one connection until it ends, until `end`, or until `stop` and everything asked before it is answered.
pub async fn serve(
    upgraded: Upgraded,
    handshake: Server,
    calls: Arc<Calls>,
    asker: Extensions,
    end: impl Future<Output = ()>,
    stop: impl Future<Output = ()>,
) {
    let stream = Stream(Arc::new(Mutex::new(BufStream::new(TokioIo::new(upgraded)).compat())));
    let mut builder = handshake.into_builder(stream.clone());
    builder.set_max_message_size(MAX_REQUEST_BYTES as usize);
    builder.set_max_frame_size(MAX_REQUEST_BYTES as usize);
    let (sender, receiver) = builder.finish();
    let (answers, unwritten) = mpsc::channel(UNWRITTEN);
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let line = Line::new(MethodSink::new(answers.clone()), connection);
    let (finish, finished) = oneshot::channel();
    let mut writing = tokio::spawn(write(sender, unwritten, finished));
    let mut answering = Answering { calls, asker, line, answers, running: JoinSet::new() };
    let ended = tokio::select! {
        ended = answering.read(receiver, stop) => ended,
        () = end => return writing.abort(),
        _ = &mut writing => return,
    };
    let _ = finish.send(());
    let _ = writing.await;
    match ended {
        Ended::Gone | Ended::Stopping => {}
        Ended::TooLarge => linger(stream).await,
    }
}

/// Reads and discards bytes: closing a connection with unread bytes takes its last answer with it.
async fn linger(stream: Stream) {
    let (most, longest) = LINGER;
    let _ = timeout(longest, futures::io::copy(stream.take(most), &mut futures::io::sink())).await;
}

/// The calls of one connection. They end with it.
struct Answering {
    calls: Arc<Calls>,
    asker: Extensions,
    line: Line,
    answers: mpsc::Sender<Box<RawValue>>,
    running: JoinSet<()>,
}

impl Answering {
    /// Reads until the other side is gone; after `stop` it only waits for the calls under way.
    async fn read(&mut self, receiver: Receiver<Stream>, stop: impl Future<Output = ()>) -> Ended {
        let incoming = stream::unfold(receiver, next).fuse();
        tokio::pin!(incoming, stop);
        let mut silent = Instant::now() + PING * 3;
        loop {
            tokio::select! {
                Some(_) = self.running.join_next() => {}
                message = incoming.next(), if self.running.len() < CALLS => match message {
                    Some(Message::Data(message)) => self.start(message),
                    Some(Message::Pong) => {}
                    Some(Message::TooLarge) => {
                        let _ = self.answers.send(too_large()).await;
                        return Ended::TooLarge;
                    }
                    Some(Message::Broken) | None => return Ended::Gone,
                },
                () = sleep_until(silent), if self.running.len() < CALLS => return Ended::Gone,
                () = &mut stop => break,
            }
            silent = Instant::now() + PING * 3;
        }
        while self.running.join_next().await.is_some() {}
        Ended::Stopping
    }

    fn start(&mut self, message: Vec<u8>) {
        let (calls, asker) = (Arc::clone(&self.calls), self.asker.clone());
        let (line, answers) = (self.line.clone(), self.answers.clone());
        self.running.spawn(async move {
            let answer = calls.answer(&message, &asker, Some(&line)).await;
            // An answer may have to wait for its reader; the message need not.
            drop(message);
            if let Some(answer) = answer {
                // Fails if the other side is gone.
                let _ = answers.send(answer).await;
            }
        });
    }
}

/// The next message, in the form that `unfold` takes.
async fn next(mut receiver: Receiver<Stream>) -> Option<(Message, Receiver<Stream>)> {
    let mut data = Vec::new();
    let message = match receiver.receive(&mut data).await {
        Ok(Incoming::Data(_)) => Message::Data(data),
        Ok(Incoming::Pong(_)) => Message::Pong,
        Ok(Incoming::Closed(_)) | Err(Error::Closed) => return None,
        Err(Error::MessageTooLarge { .. } | Error::Codec(base::Error::PayloadTooLarge { .. })) => {
            Message::TooLarge
        }
        Err(error) => {
            tracing::debug!(%error, "a WebSocket cannot be read any more");
            Message::Broken
        }
    };
    Some((message, receiver))
}

/// Writes what there is, and pings, until it cannot or need not any more.
async fn write(
    mut sender: Sender<Stream>,
    mut unwritten: mpsc::Receiver<Box<RawValue>>,
    mut finished: oneshot::Receiver<()>,
) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = unwritten.recv() => message,
            _ = pings.tick() => {
                if ping(&mut sender).await.is_err() {
                    return;
                }
                continue;
            }
            _ = &mut finished, if !unwritten.is_closed() => {
                // Answers made so far are still written; nothing more is accepted.
                unwritten.close();
                continue;
            }
        };
        let Some(message) = message else { break };
        if say(&mut sender, message, unwritten.is_empty()).await.is_err() {
            return;
        }
    }
    let _ = sender.close().await;
}

async fn say(sender: &mut Sender<Stream>, message: Box<RawValue>, last: bool) -> Result<(), Error> {
    sender.send_text_owned(Box::<str>::from(message).into_string()).await?;
    // Answers that are ready together are sent together.
    if last { sender.flush().await } else { Ok(()) }
}

async fn ping(sender: &mut Sender<Stream>) -> Result<(), Error> {
    sender.send_ping(ByteSlice125::try_from(b"".as_slice()).expect("it is short")).await?;
    sender.flush().await
}
