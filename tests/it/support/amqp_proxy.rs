//! A way to RabbitMQ on which deliveries can get lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const METHOD: u8 = 1;
/// Class and method of `basic.deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Passes everything on, but for deliveries that it is told to swallow.
pub(crate) struct Proxy {
    pub(crate) uri: String,
    swallow: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// In front of the node at this URI.
    pub(crate) async fn start(uri: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (_, rest) = uri.split_once('@').expect("a URI with a user");
        let (to, _) = rest.split_once('/').expect("a virtual host");
        let (uri, to) = (uri.replace(to, &address), to.to_owned());
        let swallow = Arc::new(AtomicUsize::new(0));
        let (mut tasks, left) = (JoinSet::new(), Arc::clone(&swallow));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&to).await.expect("RabbitMQ");
                connections.spawn(pass(client, server, Arc::clone(&left)));
            }
        });
        Self {
            uri,
            swallow,
            _tasks: tasks,
        }
    }

    /// Loses so many deliveries from now on.
    pub(crate) fn swallow(&self, count: usize) {
        self.swallow.store(count, Ordering::SeqCst);
    }

    /// How many are still to be lost.
    pub(crate) fn left_to_swallow(&self) -> usize {
        self.swallow.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: TcpStream, swallow: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        // Channels whose last method was swallowed, and whose content is, too.
        let mut swallowed = HashSet::new();
        let mut frame = Vec::new();
        loop {
            frame.resize(7, 0);
            from_server.read_exact(&mut frame).await?;
            let (kind, channel) = (frame[0], [frame[1], frame[2]]);
            let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
            frame.resize(7 + size + 1, 0);
            from_server.read_exact(&mut frame[7..]).await?;
            if kind == METHOD {
                swallowed.remove(&channel);
                if frame[7..].starts_with(&DELIVER) && take_one(&swallow) {
                    swallowed.insert(channel);
                }
            }
            if !swallowed.contains(&channel) || kind > 3 {
                to_client.write_all(&frame).await?;
            }
        }
        #[expect(unreachable_code, reason = "names the type of the errors above")]
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        _ = answers => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}

/// Takes one of those that are left; false if none is.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}
