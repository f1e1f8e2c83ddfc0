//! An allocator that counts, for the threads that ask for it.
//!
//! One of the two places where unsafe code is allowed: whoever counts allocations must be the
//! allocator. It adds nothing to what the system's does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What one thread has allocated since it began to be counted; others may look at any time.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    allocations: AtomicU64,
    live: AtomicI64,
}

thread_local! {
    // Needs no destructor and no first use, so the allocator may look at it at any time.
    static TALLY: Cell<Option<&'static Tally>> = const { Cell::new(None) };
}

impl Tally {
    /// Of nobody yet. Threads may outlive whoever reads it, so it is never freed.
    pub(crate) fn new() -> &'static Tally {
        Box::leak(Box::default())
    }

    /// Counts this thread from now on.
    pub(crate) fn count_this_thread(&'static self) {
        TALLY.set(Some(self));
    }

    /// How often it allocated, or grew what it had.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.load(Relaxed)
    }

    /// Bytes it allocated and did not free.
    pub(crate) fn live(&self) -> i64 {
        self.live.load(Relaxed)
    }
}

fn count(allocations: u64, bytes: i64) {
    // A thread that is ending has no tally any more.
    if let Ok(Some(tally)) = TALLY.try_with(Cell::get) {
        tally.allocations.fetch_add(allocations, Relaxed);
        tally.live.fetch_add(bytes, Relaxed);
    }
}

fn bytes(size: usize) -> i64 {
    i64::try_from(size).expect("no layout is larger than isize::MAX")
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; every call goes to the system's as it came"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, bytes(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, bytes(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, bytes(size) - bytes(layout.size()));
        // SAFETY: as above; `old` came from the system's allocator, through us.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        count(0, -bytes(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}
