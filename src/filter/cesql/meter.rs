//! Limit of the work of an evaluation. Work is counted, not timed, so that the same expression is
//! over the limit on every machine and at any load.
//!
//! A step takes a nanosecond or so (`benches/hot_path.rs` has the figures): a byte that is read,
//! compared or written, or a part of visiting an operation or allocating memory.

use std::fmt;

/// Largest number of steps: about a hundred times those for asking an event with long attributes
/// for each of a hundred conditions, and less than 10 ms.
pub const MAX_STEPS: u32 = 1 << 20;
/// Largest size in bytes of all values that are made on the way, including those that are not kept:
/// 1 MiB.
pub(crate) const MAX_BYTES: u32 = 1 << 20;

/// Steps that an allocation counts as, with the release of its memory.
const ALLOCATION: usize = 32;

/// Steps and bytes that are left to an evaluation, or to several ones that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkMeter {
    steps_left: u32,
    bytes_left: u32,
}

/// Error: the meter has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterExceeded;

impl fmt::Display for MeterExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "limit error (more than {MAX_STEPS} steps, or more than {MAX_BYTES} bytes of values)"
        )
    }
}

impl std::error::Error for MeterExceeded {}

impl Default for WorkMeter {
    /// Makes a meter of which nothing of [`MAX_STEPS`] and [`MAX_BYTES`] is used.
    fn default() -> Self {
        Self {
            steps_left: MAX_STEPS,
            bytes_left: MAX_BYTES,
        }
    }
}

impl WorkMeter {
    /// Number of steps that were taken.
    #[must_use]
    pub(crate) fn steps(&self) -> u32 {
        MAX_STEPS - self.steps_left
    }

    #[cfg(test)]
    /// Number of bytes that were allocated.
    #[must_use]
    pub(crate) fn bytes(&self) -> u32 {
        MAX_BYTES - self.bytes_left
    }

    /// Takes steps.
    ///
    /// # Errors
    /// If fewer are left. Then none are left for whatever comes after.
    #[inline]
    pub(crate) fn step(&mut self, steps: usize) -> Result<(), MeterExceeded> {
        Self::take(&mut self.steps_left, steps)
    }

    /// Allocates bytes, all of which are written: a step for each.
    ///
    /// # Errors
    /// If fewer bytes are left, or too few steps.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), MeterExceeded> {
        self.step(bytes.saturating_add(ALLOCATION))?;
        Self::take(&mut self.bytes_left, bytes)
    }

    /// Checks that this many bytes are left, without taking them.
    ///
    /// # Errors
    /// If fewer are left.
    pub(crate) fn has_bytes(&self, bytes: usize) -> Result<(), MeterExceeded> {
        if bytes > self.bytes_left as usize {
            Err(MeterExceeded)
        } else {
            Ok(())
        }
    }

    #[inline]
    fn take(left: &mut u32, wanted: usize) -> Result<(), MeterExceeded> {
        match (*left as usize)
            .checked_sub(wanted)
            .and_then(|rest| u32::try_from(rest).ok())
        {
            Some(rest) => *left = rest,
            None => {
                *left = 0;
                return Err(MeterExceeded);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exceeded_stays_exceeded() {
        let mut meter = WorkMeter::default();
        assert_eq!(meter.step(MAX_STEPS as usize - 1), Ok(()));
        assert_eq!((meter.steps(), meter.bytes()), (MAX_STEPS - 1, 0));
        assert_eq!(meter.step(2), Err(MeterExceeded));
        assert_eq!(meter.step(1), Err(MeterExceeded));
        let mut meter = WorkMeter::default();
        assert_eq!(meter.has_bytes(usize::MAX), Err(MeterExceeded));
        assert_eq!(meter.allocate(1000), Ok(()));
        assert_eq!((meter.steps(), meter.bytes()), (1032, 1000));
        assert_eq!(meter.allocate(MAX_BYTES as usize), Err(MeterExceeded));
    }
}
