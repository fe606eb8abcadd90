//! Authentication and authorization: the tokens that this process sends, and the verification of
//! those that it receives (contract 7.1 to 7.10, AU-1 to AU-13).
//!
//! [`policy`] decides and is pure; [`token_verifier`] verifies tokens by the keys that
//! [`issuer_keys`] holds and [`discovery`] fetches; [`token_cache`] keeps the tokens to send;
//! [`kubernetes`] is the only module that knows an API server. Nothing here knows requests beyond
//! their header fields, or shows a token to anybody.

pub mod audience;
pub mod discovery;
pub mod issuer_keys;
pub mod kubernetes;
pub mod policy;
pub mod sender_authorizer;
pub mod token_cache;
pub mod token_verifier;

pub use policy::AccessDenial;
pub use sender_authorizer::{RequestCredentials, SenderAuthorizer, SenderIdentity};
pub use token_cache::{TokenCache, TokenTransport};

#[cfg(test)]
mod tests;
