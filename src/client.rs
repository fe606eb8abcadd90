//! stand-in
use crate::model::Addressable;
use bytes::Bytes;
use std::time::Duration;
/// x
pub trait Transport: Send + Sync + 'static {
    /// x
    fn send(
        &self,
        request: http::Request<Bytes>,
        to: &Addressable,
        timeout: Duration,
    ) -> impl Future<Output = Result<http::Response<Bytes>, TransportError>> + Send;
}
/// x
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// x
    #[error("no answer within {after:?}")]
    Timeout {
        /// x
        after: Duration,
    },
    /// x
    #[error("{0}")]
    Connect(String),
    /// x
    #[error("{0}")]
    Trust(String),
}
impl TransportError {
    /// x
    pub fn reason(&self) -> &'static str {
        "x"
    }
    /// x
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Trust(_))
    }
}
