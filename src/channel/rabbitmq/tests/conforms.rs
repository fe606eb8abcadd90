//! Runs the conformance suite of backends: on the server in the process, and on RabbitMQ.

use super::*;
use crate::channel::conformance::{BackendUnderTest, conformance};

/// A backend on a server, which outlives it.
struct Process {
    uri: String,
    namespace: String,
    backend: RabbitmqBackend,
    counters: Arc<ProcessCounters>,
}

impl Process {
    fn new(uri: String, namespace: String) -> Self {
        let counters = Arc::default();
        let backend = RabbitmqBackend::new(options(&uri), Arc::clone(&counters));
        Self {
            uri,
            namespace,
            backend,
            counters,
        }
    }

    async fn restart(self) -> Self {
        self.backend.shut_down().await;
        Self::new(self.uri, self.namespace)
    }
}

mod in_the_process {
    use super::*;

    struct OnFakeServer {
        process: Process,
        /// Its queues are gone with it.
        _server: FakeServer,
    }

    impl BackendUnderTest for OnFakeServer {
        const STORAGE: BackendKind = BackendKind::Rabbitmq;
        const IS_DURABLE: bool = true;

        async fn start() -> Self {
            let server = FakeServer::start().await;
            Self {
                process: Process::new(server.uri(), "ns".to_owned()),
                _server: server,
            }
        }

        fn namespace(&self) -> &str {
            &self.process.namespace
        }

        fn backend(&self) -> &dyn ChannelBackend {
            &self.process.backend
        }

        fn counters(&self) -> Arc<ProcessCounters> {
            Arc::clone(&self.process.counters)
        }

        async fn restart(self) -> Self {
            Self {
                process: self.process.restart().await,
                ..self
            }
        }
    }

    conformance!(OnFakeServer);
}

mod on_rabbitmq {
    use super::*;

    impl BackendUnderTest for Process {
        const STORAGE: BackendKind = BackendKind::Rabbitmq;
        const IS_DURABLE: bool = true;

        #[expect(
            clippy::disallowed_methods,
            reason = "whoever runs the tests says where RabbitMQ is"
        )]
        async fn start() -> Self {
            let uri = std::env::var("SEALPOST_TEST_RABBITMQ").expect(
                "no RabbitMQ to test with: run .ci/run, or start one with tests/rabbitmq/node start DIR and set \
                 SEALPOST_TEST_RABBITMQ to what it prints",
            );
            Self::new(uri, format!("t{}", uuid::Uuid::new_v4().simple()))
        }

        fn namespace(&self) -> &str {
            &self.namespace
        }

        fn backend(&self) -> &dyn ChannelBackend {
            &self.backend
        }

        fn counters(&self) -> Arc<ProcessCounters> {
            Arc::clone(&self.counters)
        }

        async fn restart(self) -> Self {
            Self::restart(self).await
        }
    }

    conformance!(Process);
}
