//! The way from a dispatcher to the API server: a TCP proxy that can be shut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// They pass.
    Open,
    /// They are closed, new ones at once.
    Closed,
    /// Nothing passes, and nobody is told: those that are open stay so, new ones get no answer.
    Silent,
}

/// The proxy; ended when it is dropped.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    passage: watch::Sender<Passage>,
    epoch: watch::Sender<u64>,
    _proxy: JoinSet<()>,
}

impl Gate {
    /// One that leads to this address.
    pub(crate) async fn to(backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (passage, epoch) = (watch::Sender::new(Passage::Open), watch::Sender::new(0));
        let mut proxy = JoinSet::new();
        proxy.spawn(accept(listener, backend, passage.clone(), epoch.clone()));
        Self {
            address,
            passage,
            epoch,
            _proxy: proxy,
        }
    }

    /// Lets connections pass, or not.
    pub(crate) fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
        if passage == Passage::Closed {
            self.drop_connections();
        }
    }

    /// Closes the connections that there are.
    pub(crate) fn drop_connections(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }
}

async fn accept(
    listener: TcpListener,
    backend: SocketAddr,
    passage: watch::Sender<Passage>,
    epoch: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *passage.borrow() == Passage::Closed {
            continue;
        }
        let (passage, mut ended) = (passage.subscribe(), epoch.subscribe());
        connections.spawn(async move {
            tokio::select! {
                () = connection(client, backend, passage) => {}
                _ = ended.changed() => {}
            }
        });
    }
}

/// Carries bytes while they may pass. Between two polls of the copy nothing is lost, so it can be
/// held.
async fn connection(
    mut client: TcpStream,
    backend: SocketAddr,
    mut passage: watch::Receiver<Passage>,
) {
    let mut is_open = passage.clone();
    if is_open
        .wait_for(|passage| *passage == Passage::Open)
        .await
        .is_err()
    {
        return;
    }
    let Ok(mut server) = TcpStream::connect(backend).await else {
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let copy = copy_bidirectional(&mut client, &mut server);
    tokio::pin!(copy);
    loop {
        tokio::select! {
            biased;
            held = passage.wait_for(|passage| *passage != Passage::Open) => if held.is_err() { return },
            _ = &mut copy => return,
        }
        if passage
            .wait_for(|passage| *passage == Passage::Open)
            .await
            .is_err()
        {
            return;
        }
    }
}
