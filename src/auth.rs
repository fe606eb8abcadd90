//! Authentication and authorization: the tokens that this process sends, and the verification of
//! those that it receives (contract 7.1 to 7.10, AU-1 to AU-13).
//!
//! [`policy`] decides and is pure; [`token_verifier`] verifies tokens by the keys that
//! [`issuer_keys`] holds and [`discovery`] fetches; [`token_cache`] keeps the tokens to send;
//! [`kubernetes`] is the only module that knows an API server. Nothing here knows requests beyond
//! their header fields, or shows a token to anybody.

pub(crate) mod audience;
pub mod discovery;
pub mod issuer_keys;
pub mod kubernetes;
pub(crate) mod policy;
pub(crate) mod sender_authorizer;
pub mod token_cache;
pub(crate) mod token_verifier;

pub(crate) use policy::AccessDenial;
pub use sender_authorizer::RequestCredentials;
pub use sender_authorizer::SenderAuthorizer;
pub(crate) use sender_authorizer::SenderIdentity;
pub use token_cache::TokenCache;
pub use token_cache::TokenTransport;

#[cfg(test)]
mod tests;
