//! The wait before the API server is asked again: longer each time, and by chance, so that many
//! processes do not ask at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The waits between attempts, from 100 ms to ten seconds; holds the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiRetryBackoff(Duration);

impl Default for ApiRetryBackoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl ApiRetryBackoff {
    /// The next wait, chosen by chance between half and all of a time that doubles up to ten
    /// seconds.
    pub(super) fn next_delay(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins again with the shortest wait, after a request that succeeded.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_begin_again() {
        let mut waits = ApiRetryBackoff::default();
        for longest in
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].map(Duration::from_millis)
        {
            let wait = waits.next_delay();
            assert!(
                wait <= longest && wait * 2 >= longest,
                "{wait:?} of {longest:?}"
            );
        }
        waits.reset();
        assert!(waits.next_delay() <= FIRST);
    }
}
