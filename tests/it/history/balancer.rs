//! A balancer in front of the nodes, which knows nothing of AMQP: it gives each connection to the
//! next node that accepts.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A balancer; its connections end when it is dropped.
pub(super) struct TcpBalancer {
    pub(super) uri: String,
    _server: JoinSet<()>,
}

impl TcpBalancer {
    /// In front of the nodes at these URIs.
    pub(super) async fn start(uris: &[String]) -> Self {
        let host = |uri: &String| {
            let (_, rest) = uri.split_once('@').expect("a URI with a user");
            rest.split_once('/').expect("a virtual host").0.to_owned()
        };
        let nodes: Vec<String> = uris.iter().map(host).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let uri = uris[0].replace(&nodes[0], &address);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, nodes));
        Self {
            uri,
            _server: server,
        }
    }
}

async fn serve(listener: TcpListener, nodes: Vec<String>) {
    let mut connections = JoinSet::new();
    for turn in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let mut nodes = nodes.clone();
        let first = turn % nodes.len();
        nodes.rotate_left(first);
        connections.spawn(pass(client, nodes));
    }
}

async fn pass(mut client: TcpStream, nodes: Vec<String>) {
    for node in nodes {
        if let Ok(mut server) = TcpStream::connect(node).await {
            // It ends when a side does, or breaks.
            drop(copy_bidirectional(&mut client, &mut server).await);
            return;
        }
    }
}
