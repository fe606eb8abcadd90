//! Channels on disk: each has a log of its own below one directory, which one process owns.

pub mod log;
