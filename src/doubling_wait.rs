//! Waits between attempts that fail one after the other: each is twice as long as the one before.

use std::time::Duration;

/// The next wait of several that double, up to a longest one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoublingWait {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl DoublingWait {
    /// Makes waits that begin with `first` and become no longer than `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Begins again with the first wait, since an attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// True if the next wait is the first one.
    pub(crate) fn is_first(&self) -> bool {
        self.next == self.first
    }

    /// Takes the next wait.
    pub(crate) fn take(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }

    /// Takes the next wait, shortened to a random part, the half of it at least: those who have
    /// failed together do not try again together.
    pub(crate) fn take_jittered(&mut self) -> Duration {
        self.take().mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let millis = Duration::from_millis;
        let mut wait = DoublingWait::new(millis(200), millis(500));
        assert!(wait.is_first());
        let taken = [wait.take(), wait.take(), wait.take(), wait.take()];
        assert_eq!(taken, [200, 400, 500, 500].map(millis));
        let jittered = wait.take_jittered();
        assert!(
            jittered >= millis(250) && jittered <= millis(500),
            "{jittered:?}"
        );
        assert!(!wait.is_first());
        wait.reset();
        assert_eq!((wait.is_first(), wait.take()), (true, millis(200)));
    }
}
