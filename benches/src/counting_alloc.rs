//! A global allocator that counts, so that a benchmark can say how often the code under test
//! allocates.
//!
//! To be installed by the benchmark:
//! `#[global_allocator] static ALLOC: CountingAlloc = CountingAlloc;`. Counts are of the whole
//! process: measure on one thread, around the calls in question.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
#[derive(Debug)]
pub struct CountingAlloc;

/// What was asked of the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allocations {
    /// Allocations and reallocations.
    pub calls: u64,
    /// Bytes asked for in all.
    pub bytes: u64,
}

impl Allocations {
    /// Since the process began; nothing unless [`CountingAlloc`] is installed.
    pub fn so_far() -> Self {
        Allocations { calls: CALLS.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(self, before: Allocations) -> Self {
        Allocations { calls: self.calls - before.calls, bytes: self.bytes - before.bytes }
    }

    /// Adds another count.
    pub fn add(&mut self, other: Allocations) {
        self.calls += other.calls;
        self.bytes += other.bytes;
    }
}

/// Bytes allocated and not given back; nothing unless [`CountingAlloc`] is installed.
pub fn held_bytes() -> u64 {
    // What is freed was counted before.
    let freed = FREED.load(Ordering::Relaxed);
    BYTES.load(Ordering::Relaxed) - freed
}

fn count(bytes: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every method passes its arguments on to the system's allocator, whose contract is the
// same, and returns what that returns.
unsafe impl GlobalAlloc for CountingAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        FREED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}
