//! The Services of a cluster: names that lead to pods, also to such as start later.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::SYSTEM;
use crate::support::dispatcher::Dispatcher;
use crate::support::pod::Pod;

/// A Service of the system namespace, with upstream's ports 80 and 443; ended when it is dropped.
pub(crate) struct Service {
    name: String,
    ports: [Port; 2],
}

struct Port {
    number: u16,
    address: SocketAddr,
    pod: watch::Sender<Option<SocketAddr>>,
    _proxy: JoinSet<()>,
}

impl Service {
    /// A Service that has no pod yet.
    pub(crate) async fn new(name: &str) -> Self {
        Self {
            name: format!("{name}.{SYSTEM}.svc.cluster.local"),
            ports: [Port::new(80).await, Port::new(443).await],
        }
    }

    /// Its host name.
    pub(crate) fn host(&self) -> &str {
        &self.name
    }

    /// Where its port for HTTPS is.
    pub(crate) fn https(&self) -> SocketAddr {
        self.ports[1].address
    }

    /// Leads to this pod from now on.
    pub(crate) fn lead_to(&self, pod: &Dispatcher) {
        for (port, address) in self.ports.iter().zip([pod.http, pod.https]) {
            port.pod.send_replace(Some(address));
        }
    }

    /// Where it really is, for `SEALPOST_RESOLVE`.
    fn entries(&self) -> Vec<String> {
        let entry = |port: &Port| format!("{}:{}={}", self.name, port.number, port.address);
        self.ports.iter().map(entry).collect()
    }
}

/// A pod that finds these Services, and the channels `t/NAME` at the first one.
pub(crate) fn finding(pod: Pod, services: [&Service; 3], channels: &[&str]) -> Pod {
    let mut entries: Vec<String> = services
        .iter()
        .flat_map(|service| service.entries())
        .collect();
    for name in channels {
        entries.push(format!(
            "{name}-kn-channel.t.svc.cluster.local:80={}",
            services[0].ports[0].address
        ));
    }
    pod.env("SEALPOST_RESOLVE", &entries.join(","))
}

impl Port {
    async fn new(number: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (pod, leads) = watch::channel(None);
        let mut proxy = JoinSet::new();
        proxy.spawn(accept(listener, leads));
        Self {
            number,
            address,
            pod,
            _proxy: proxy,
        }
    }
}

/// Without a pod, connections are closed at once.
async fn accept(listener: TcpListener, leads: watch::Receiver<Option<SocketAddr>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let Some(pod) = *leads.borrow() else { continue };
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(pod).await else {
                return;
            };
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a socket");
            }
            // Whoever ends first ends both.
            let _ended = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
