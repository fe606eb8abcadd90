//! Tests of the backend: the conformance suite, and what only channels on disk promise.

mod conforms;
mod parking;
