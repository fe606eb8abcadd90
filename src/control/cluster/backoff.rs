//! The wait before the API server is asked again: longer each time, and by chance, so that many
//! processes do not ask at once.

use std::time::Duration;

use crate::doubling_wait::DoublingWait;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The waits between attempts, from 100 ms to ten seconds.
pub(super) fn api_retry_backoff() -> DoublingWait {
    DoublingWait::new(FIRST, LONGEST)
}
