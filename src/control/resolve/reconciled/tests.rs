//! Channels of a cluster: what counts in them, and what is remembered.
