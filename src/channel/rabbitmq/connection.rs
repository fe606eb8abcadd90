//! Connections to RabbitMQ: one to publish, one to consume, each made again for ever when it breaks (gaps.md G-70, G-72).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionBuilder, ConnectionProperties};
use tokio::sync::watch;

use crate::telemetry::counters::Counters;

/// The wait after the first failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// From the start of connecting to an open connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// Seconds without a sign of life after which a connection counts as broken.
const HEARTBEAT: u16 = 10;

/// Where RabbitMQ is. Neither `Debug` nor anything else shows the password.
#[derive(Clone)]
pub struct Address {
    uri: AMQPUri,
    ca_pem: Option<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl Address {
    /// Reads an `amqp://` or `amqps://` URI; user name and password that are given stand for those of the URI;
    /// RabbitMQ's certificate is verified with the CA, if one is given.
    ///
    /// # Errors
    /// What is wrong with the URI, without repeating it, since it may hold a password; or with the file.
    pub fn new(uri: &str, credentials: (Option<&str>, Option<&str>), ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut uri: AMQPUri = uri.parse().map_err(|error| anyhow::anyhow!("--rabbitmq-uri: {error}"))?;
        let login = &mut uri.authority.userinfo;
        let (username, password) = credentials;
        username.inspect(|username| (*username).clone_into(&mut login.username));
        password.inspect(|password| (*password).clone_into(&mut login.password));
        uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
        let timeout = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        uri.query.connection_timeout = uri.query.connection_timeout.or(Some(timeout));
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("--rabbitmq-ca {}: {error}", path.display()))
        };
        Ok(Self { uri, ca_pem: ca.map(read).transpose()? })
    }

    /// Host, port and virtual host.
    fn name(&self) -> String {
        format!("{}:{}/{}", self.uri.authority.host, self.uri.authority.port, self.uri.vhost)
    }

    pub(super) async fn connect(&self, purpose: &str) -> Result<Connection, String> {
        let name = format!("sealpost {purpose}");
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.ca_pem.clone() };
        let builder = ConnectionBuilder::new().map_err(|error| error.to_string())?;
        let builder = builder.with_uri(self.uri.clone()).with_properties(properties).with_tls_config(tls);
        match tokio::time::timeout(CONNECT_TIMEOUT, builder.connect()).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {CONNECT_TIMEOUT:?}")),
        }
    }
}

/// The connection now; `None` while there is none.
pub(super) type Current = watch::Receiver<Option<Arc<Connection>>>;

/// Keeps a connection open, for ever.
pub(super) async fn keep(
    address: Address,
    purpose: &'static str,
    current: watch::Sender<Option<Arc<Connection>>>,
    counters: Arc<Counters>,
) {
    let mut wait = FIRST_WAIT;
    counters.rabbitmq.wanted.add(1);
    loop {
        match address.connect(purpose).await {
            Ok(connection) => {
                tracing::info!(purpose, rabbitmq = address.name(), "Connected to RabbitMQ");
                counters.rabbitmq_connections.increment();
                wait = FIRST_WAIT;
                let connection = Arc::new(connection);
                let open = counters.rabbitmq.open.enter();
                current.send_replace(Some(Arc::clone(&connection)));
                until_broken(&connection, &counters).await;
                drop(open);
                counters.rabbitmq_disconnections.increment();
                current.send_replace(None);
                let rabbitmq = address.name();
                tracing::warn!(purpose, rabbitmq, "Connection to RabbitMQ is broken, making it again");
            }
            Err(error) => {
                tracing::warn!(
                    purpose,
                    rabbitmq = address.name(),
                    error,
                    ?wait,
                    "No connection to RabbitMQ, trying again"
                );
            }
        }
        tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        wait = wait.saturating_mul(2).min(LONGEST_WAIT);
    }
}

/// Consumers of one connection: RabbitMQ allows 2,047 channels, and one needs up to three for a moment.
const CONSUMERS: usize = 600;

/// Connections for consumers, as many as they take.
#[derive(Default)]
pub(super) struct Pool(Vec<Seat>);

/// A place on a connection, given back when it is dropped.
#[derive(Clone)]
pub(super) struct Seat {
    /// The connection.
    pub(super) current: Current,
    /// As many as there are seats of this connection, and the pool's own.
    taken: Arc<()>,
}

impl Pool {
    /// A seat on a connection that has one left. Without one, there is a connection to be kept for it.
    pub(super) fn seat(&mut self) -> (Seat, Option<watch::Sender<Option<Arc<Connection>>>>) {
        if let Some(seat) = self.0.iter().find(|seat| Arc::strong_count(&seat.taken) <= CONSUMERS) {
            return (seat.clone(), None);
        }
        let (keeper, current) = watch::channel(None);
        let seat = Seat { current, taken: Arc::default() };
        self.0.push(seat.clone());
        (seat, Some(keeper))
    }

    /// Whether each connection is there.
    pub(super) fn is_connected(&self) -> bool {
        self.0.iter().all(|seat| seat.current.borrow().is_some())
    }
}

/// Notes whether RabbitMQ takes what is published, as long as it is connected.
async fn until_broken(connection: &Connection, counters: &Counters) {
    let mut blocked = None;
    while connection.status().connected() {
        let is_blocked = connection.status().blocked();
        if is_blocked != blocked.is_some() {
            blocked = is_blocked.then(|| counters.rabbitmq.blocked.enter());
        }
        tokio::time::sleep(PERIOD).await;
    }
}
