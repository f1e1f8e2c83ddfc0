//! Files that are synced together.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A disk that takes longer than this to sync a file does others meanwhile, …
const SYNC_IS_QUICK: Duration = Duration::from_micros(200);

/// … so many at once: it writes down together what was asked of it together.
const SYNCS_AT_ONCE: usize = 32;

/// Syncs each of these, many at once if the disk takes long: most of what one waits for is the same for all that wait.
/// It does wait, so it is for a child or a client, and not for the loop.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever waits for a disk has no loop that could tell it the time"
)]
pub fn sync_all<F: Sync>(
    files: &[F],
    sync: impl Fn(&F) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let Some((first, rest)) = files.split_first() else {
        return Vec::new();
    };
    let begun = Instant::now();
    let mut outcomes = vec![sync(first)];
    if begun.elapsed() <= SYNC_IS_QUICK {
        outcomes.extend(rest.iter().map(sync));
        return outcomes;
    }
    outcomes.extend(rest.iter().map(|_| Ok(())));
    let helpers = rest.len().min(SYNCS_AT_ONCE).saturating_sub(1);
    let queue = Mutex::new(rest.iter().zip(&mut outcomes[1..]));
    let take_and_sync = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((file, outcome)) = next else { return };
            *outcome = sync(file);
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Where no more threads are to be had it takes longer, and is done all the same.
            if thread::Builder::new()
                .spawn_scoped(scope, take_and_sync)
                .is_err()
            {
                break;
            }
        }
        take_and_sync();
    });
    outcomes
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn each_is_synced_once_and_has_its_own_outcome_whether_the_disk_is_quick_or_not() {
        for is_quick in [true, false] {
            let files: Vec<usize> = (0..100).collect();
            let synced = Mutex::new(Vec::new());
            let outcomes = sync_all(&files, |&n| {
                if n == 0 && !is_quick {
                    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap();
                    let until = now() + SYNC_IS_QUICK * 2;
                    while now() < until {}
                }
                synced.lock().unwrap().push(n);
                if n % 7 == 3 {
                    return Err(io::Error::from_raw_os_error(5));
                }
                Ok(())
            });
            let failed: Vec<usize> = (0..100).filter(|&n| outcomes[n].is_err()).collect();
            let wanted: Vec<usize> = (0..100).filter(|n| n % 7 == 3).collect();
            assert_eq!(failed, wanted, "{is_quick}");
            let mut synced = synced.into_inner().unwrap();
            synced.sort_unstable();
            assert_eq!(synced, files, "{is_quick}");
        }
        assert!(sync_all(&[0; 0], |_| Ok(())).is_empty());
    }
}
