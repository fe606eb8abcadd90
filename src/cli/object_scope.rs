//! The flags of commands that show objects: those of one namespace, or of all.

use clap::Args;

/// The namespaces whose objects are shown.
#[derive(Clone, Debug, Args)]
pub struct ObjectScope {
    /// Only objects of this namespace [default: all]
    #[arg(short = 'n', long, value_name = "NS", env = "SEALPOST_NAMESPACE")]
    pub namespace: Option<String>,

    /// Objects of all namespaces, whatever SEALPOST_NAMESPACE says
    #[arg(short = 'A', long, env = "SEALPOST_ALL_NAMESPACES")]
    pub all_namespaces: bool,
}

impl ObjectScope {
    /// The namespace whose objects are shown; `None` shows those of all.
    #[must_use]
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|_| !self.all_namespaces)
    }
}
