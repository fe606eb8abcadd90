//! Three nodes of RabbitMQ that make a cluster, to ill-treat.

use tempfile::TempDir;

use super::run;

/// A cluster of its own, killed when it is dropped. Its nodes have the numbers 1, 2 and 3.
pub(crate) struct Cluster {
    directory: TempDir,
    uris: Vec<String>,
}

impl Cluster {
    /// Starts one, and waits until it is whole.
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let uris: Vec<_> = run("cluster", "start", directory.path(), &[])
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(uris.len(), 3);
        Self { directory, uris }
    }

    /// The URI of a node.
    pub(crate) fn uri(&self, node: usize) -> &str {
        &self.uris[node - 1]
    }

    /// The URIs of all nodes, in their order.
    pub(crate) fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Stops a node in good order.
    pub(crate) fn stop(&self, node: usize) {
        self.run("stop", node);
    }

    /// Kills a node.
    pub(crate) fn kill(&self, node: usize) {
        self.run("kill", node);
    }

    /// Starts a node again, with its data, at the same address.
    pub(crate) fn restart(&self, node: usize) {
        self.run("restart", node);
    }

    /// A node's process does nothing from now on.
    pub(crate) fn pause(&self, node: usize) {
        self.run("pause", node);
    }

    /// A node's process goes on.
    pub(crate) fn resume(&self, node: usize) {
        self.run("resume", node);
    }

    /// Cuts a node off from the other two; clients still reach all three.
    pub(crate) fn partition(&self, node: usize) {
        self.run("partition", node);
    }

    /// Ends the partition, and waits until the cluster is whole.
    pub(crate) fn heal(&self) {
        run("cluster", "heal", self.directory.path(), &[]);
    }

    /// Stops a node and takes it out of the cluster and its queues.
    pub(crate) fn forget(&self, node: usize) {
        self.run("forget", node);
    }

    /// Takes a node that was forgotten in again, empty, with a member of each quorum queue.
    pub(crate) fn grow(&self, node: usize) {
        self.run("grow", node);
    }

    /// `rabbitmqctl` on a node.
    pub(crate) fn ctl(&self, node: usize, arguments: &[&str]) -> String {
        let node = node.to_string();
        run(
            "cluster",
            "ctl",
            self.directory.path(),
            &[&[node.as_str()], arguments].concat(),
        )
    }

    fn run(&self, command: &str, node: usize) {
        run(
            "cluster",
            command,
            self.directory.path(),
            &[&node.to_string()],
        );
    }
}

impl Drop for Cluster {
    /// A node that is paused cannot stop, but it can be killed.
    fn drop(&mut self) {
        run("cluster", "kill", self.directory.path(), &[]);
    }
}
