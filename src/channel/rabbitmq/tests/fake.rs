//! An AMQP 0-9-1 server in the process of the test, which misbehaves on demand.
//!
//! It has the features of RabbitMQ that this crate uses, and answers as RabbitMQ 3.10 does:
//! exchanges of the types direct and fanout, classic and quorum queues, confirms, delivery limits,
//! expiry, dead letters. `levers` holds what a test can break, `views` what it can see, `settings`
//! how the server behaves otherwise.

mod broker;
mod confirms;
mod consuming;
mod dead;
mod faults;
mod levers;
mod queue;
mod session;
mod settings;
mod topology;
mod views;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amq_protocol::frame::AMQPFrame;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use broker::Refusal;
use broker::{Broker, Phase};
pub(crate) use settings::{Settings, Version};
pub(crate) use views::Confirm;
use wire::{FrameReader, write_frame};

/// What the tasks of the server share.
struct Shared {
    broker: Mutex<Broker>,
    /// Told of every change.
    changed: watch::Sender<()>,
}

impl Shared {
    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&Broker) -> T) -> T {
        look(&self.broker())
    }

    /// Changes something, and does what follows from it.
    fn with<T>(&self, change: impl FnOnce(&mut Broker) -> T) -> T {
        let mut broker = self.broker();
        let changed = change(&mut broker);
        broker.pump();
        drop(broker);
        self.changed.send_replace(());
        changed
    }
}

/// A server. It ends when it is dropped.
pub(crate) struct FakeServer {
    shared: Arc<Shared>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl FakeServer {
    /// A server without queues and without faults.
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (broker, changed) = (Mutex::new(Broker::new(settings)), watch::Sender::new(()));
        let shared = Arc::new(Shared { broker, changed });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        tasks.spawn(keep_time(Arc::clone(&shared)));
        Self {
            shared,
            port,
            _tasks: tasks,
        }
    }

    /// Where it is, with user name and password.
    pub(crate) fn uri(&self) -> String {
        let login = self
            .shared
            .look(|broker| format!("{}:{}", broker.settings.username, broker.settings.password));
        format!("amqp://{login}@127.0.0.1:{}/%2f", self.port)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while sessions.try_join_next().is_some() {}
        if !shared.look(|broker| broker.refuses) {
            sessions.spawn(serve(stream, Arc::clone(&shared)));
        }
    }
}

/// Does what is due by itself.
async fn keep_time(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        let due = shared.look(Broker::next_due);
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => shared.with(|_| ()),
            changed = changed.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Serves a connection until it ends, or is broken.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (ready, end) = (Arc::new(Notify::new()), CancellationToken::new());
    let session = shared.with(|broker| broker.connect(Arc::clone(&ready), end.clone()));
    let (reading, writing) = stream.into_split();
    tokio::select! {
        () = read(FrameReader::new(reading), session, &shared) => {}
        () = write(writing, session, &ready, &shared) => {}
        () = end.cancelled() => {}
    }
    shared.with(|broker| broker.disconnect(session));
}

async fn while_silent(session: u64, shared: &Shared) {
    let mut changed = shared.changed.subscribe();
    while shared.look(|broker| broker.is_silent(session)) && changed.changed().await.is_ok() {}
}

async fn read(mut frames: FrameReader, session: u64, shared: &Shared) {
    while let Some(frame) = frames.next().await {
        while_silent(session, shared).await;
        shared.with(|broker| broker.on_frame(session, frame));
    }
}

/// Writes what there is for a client, and heartbeats if there is nothing for half of their time.
async fn write(mut stream: OwnedWriteHalf, session: u64, ready: &Notify, shared: &Shared) {
    loop {
        let heartbeat = shared.look(|broker| {
            broker
                .sessions
                .get(&session)
                .map(|session| session.heartbeat)
        });
        let waited = match heartbeat {
            Some(heartbeat) if !heartbeat.is_zero() => {
                tokio::time::timeout(heartbeat / 2, ready.notified()).await
            }
            _ => {
                ready.notified().await;
                Ok(())
            }
        };
        while_silent(session, shared).await;
        let mut output = Vec::new();
        let phase = {
            let mut broker = shared.broker();
            let Some(session) = broker.sessions.get_mut(&session) else {
                return;
            };
            output.append(&mut session.output);
            session.is_welcome = session.phase != Phase::Handshake;
            session.phase
        };
        if waited.is_err() && phase == Phase::Running {
            write_frame(&mut output, &AMQPFrame::Heartbeat);
        }
        if stream.write_all(&output).await.is_err() || phase == Phase::Ending {
            return;
        }
    }
}
