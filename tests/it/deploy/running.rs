//! A program of a package or an image while a test needs it.

use std::process::Child;

/// A process that is stopped when the test ends.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().expect("ended");
            self.0.wait().expect("reaped");
        }
    }
}
