//! How much work an evaluation may be. Work is counted, not timed: what is too much is so on every machine and at any load.
//!
//! A step is what takes a nanosecond or so (`benches/hot_path.rs` has the figures): a byte that is read, compared or
//! written, or a part of what it takes to visit an operation or to ask for memory.

use std::fmt;

/// Most steps: about a hundred times what it takes to ask an event with long attributes for each of a hundred conditions,
/// and less than 10 ms.
pub const MAX_STEPS: u32 = 1 << 20;
/// Most bytes of memory, of all values that are made on the way, also of those that are not kept: 1 MiB.
pub const MAX_BYTES: u32 = 1 << 20;

/// To ask for memory, and to give it back, takes as long as so many steps.
const ALLOCATION: usize = 32;

/// What is left to an evaluation, or to several ones that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkMeter {
    steps_left: u32,
    bytes_left: u32,
}

/// There is nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterExceeded;

impl fmt::Display for MeterExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit error (more than {MAX_STEPS} steps, or more than {MAX_BYTES} bytes of values)")
    }
}

impl std::error::Error for MeterExceeded {}

impl Default for WorkMeter {
    /// Nothing is used of [`MAX_STEPS`] and [`MAX_BYTES`].
    fn default() -> Self {
        Self { steps_left: MAX_STEPS, bytes_left: MAX_BYTES }
    }
}

impl WorkMeter {
    /// Steps that were taken.
    #[must_use]
    pub fn steps(&self) -> u32 {
        MAX_STEPS - self.steps_left
    }

    /// Bytes that were asked for.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        MAX_BYTES - self.bytes_left
    }

    /// Takes so many steps.
    ///
    /// # Errors
    /// If fewer are left. Then none are left to whatever comes after.
    #[inline]
    pub fn step(&mut self, steps: usize) -> Result<(), MeterExceeded> {
        Self::take(&mut self.steps_left, steps)
    }

    /// Asks for so many bytes, all of which are written: a step for each.
    ///
    /// # Errors
    /// If fewer are left, or too few steps.
    pub fn allocate(&mut self, bytes: usize) -> Result<(), MeterExceeded> {
        self.step(bytes.saturating_add(ALLOCATION))?;
        Self::take(&mut self.bytes_left, bytes)
    }

    /// Whether so many bytes are left.
    ///
    /// # Errors
    /// If fewer are.
    pub fn has_bytes(&self, bytes: usize) -> Result<(), MeterExceeded> {
        if bytes > self.bytes_left as usize { Err(MeterExceeded) } else { Ok(()) }
    }

    #[inline]
    fn take(left: &mut u32, wanted: usize) -> Result<(), MeterExceeded> {
        match (*left as usize).checked_sub(wanted).and_then(|rest| u32::try_from(rest).ok()) {
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
