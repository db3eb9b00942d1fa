//! The memory of one realm: its heap, and what it has outside it.
//!
//! V8 ends the process when its heap is full. So V8's own limit is far above the realm's, which is
//! looked at whenever V8 has collected garbage, and by the watchdog in turns that last. An array
//! buffer that would be too much is refused; a realm that has too much is terminated.
//!
//! Invariant: nothing that a script allocates makes V8 end the process, as long as the machine has
//! memory. The process's memory mappings, which V8 needs too, are `ops/mappings.rs`'s.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use deno_core::{JsRuntime, v8};

use crate::limits::Limit;
use crate::watchdog::Struck;

/// What V8 may have beyond the realm's limit before a turn that is told to end has ended. The
/// largest string or array is 1 GiB.
const UNWINDING_BYTES: usize = 2 << 30;

/// Smaller allocations are granted beyond the limit, and the realm is terminated: the host asks for
/// such, and V8 ends the process when the host is refused.
const ALWAYS_GRANTED_BYTES: usize = 64 << 10;

/// As V8's own allocator aligns.
const ALIGNMENT: usize = 16;

/// How many bytes a realm may have.
#[derive(Clone, Copy)]
pub(crate) struct MemoryLimits {
    pub(crate) heap: usize,
    /// Of array buffers and WebAssembly memories.
    pub(crate) buffers: usize,
}

/// Knows what a realm has. Shared with its buffers, which may outlive it.
pub(crate) struct Memory {
    limits: MemoryLimits,
    /// Bytes of array buffers that came from this allocator.
    used: AtomicUsize,
    struck: Struck,
    isolate: OnceLock<v8::IsolateHandle>,
}

impl Memory {
    pub(crate) fn new(limits: MemoryLimits, struck: Struck) -> Arc<Self> {
        Arc::new(Memory { limits, used: AtomicUsize::new(0), struck, isolate: OnceLock::new() })
    }

    /// What the isolate is made with.
    pub(super) fn parameters(self: &Arc<Self>) -> v8::CreateParams {
        // SAFETY: the handle is an `Arc` that `release` gives back, and `Memory` is what the
        // functions of the table expect.
        let allocator = unsafe { v8::new_rust_allocator(Arc::into_raw(self.clone()), &ALLOCATOR) };
        let parameters = v8::CreateParams::default().heap_limits(0, self.limits.heap);
        let old = parameters.max_old_generation_size_in_bytes().saturating_add(UNWINDING_BYTES);
        parameters.set_max_old_generation_size_in_bytes(old).array_buffer_allocator(allocator)
    }

    /// Watches the heap of the realm's isolate, which is entered. The realm keeps this for as long
    /// as the isolate lives.
    pub(super) fn watch(self: &Arc<Self>, runtime: &mut JsRuntime) {
        let isolate = runtime.v8_isolate();
        let handle = isolate.thread_safe_handle();
        assert!(self.isolate.set(handle).is_ok(), "a realm's memory is watched once");
        isolate.set_oom_error_handler(say_nothing);
        let collected = v8::GCType::kGCTypeMarkSweepCompact;
        isolate.add_gc_epilogue_callback(look_after_collection, self.pointer(), collected);
        // V8 asks for more than its own limit when it cannot do without. Whether the realm has more
        // than it may is for the callback above to say: an array buffer that was refused comes here
        // too.
        runtime.add_near_heap_limit_callback(|current, _| current.saturating_add(UNWINDING_BYTES));
    }

    /// Has a turn that still runs look at what its realm has. Called by the watchdog's thread,
    /// during a turn.
    pub(crate) fn look_during_turn(self: &Arc<Self>) {
        if let Some(isolate) = self.isolate.get() {
            isolate.request_interrupt(look, self.pointer());
        }
    }

    /// Terminates the realm if it has too much outside its heap. The isolate is entered.
    pub(super) fn look_at_buffers(&self, isolate: &mut v8::Isolate) {
        if self.buffers_are_exceeded(isolate) {
            // Much of it may be garbage. What the first collection found is given back by another
            // thread, which the second one waits for.
            isolate.low_memory_notification();
            isolate.low_memory_notification();
            if self.buffers_are_exceeded(isolate) {
                self.strike(Limit::Buffers);
            }
        }
    }

    fn look_at_heap(&self, isolate: &mut v8::Isolate) {
        if isolate.get_heap_statistics().used_heap_size() > self.limits.heap {
            // After the collection `look_after_collection` decides.
            isolate.low_memory_notification();
        }
    }

    fn buffers_are_exceeded(&self, isolate: &mut v8::Isolate) -> bool {
        let external = isolate.adjust_amount_of_external_allocated_memory(0);
        usize::try_from(external).is_ok_and(|bytes| bytes > self.limits.buffers)
    }

    fn pointer(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }

    fn strike(&self, limit: Limit) {
        self.struck.set(limit);
        if let Some(isolate) = self.isolate.get() {
            isolate.terminate_execution();
        }
    }

    fn allocate(&self, length: usize, from: unsafe fn(Layout) -> *mut u8) -> *mut c_void {
        let used = self.used.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        if used > self.limits.buffers {
            if length > ALWAYS_GRANTED_BYTES {
                // V8 collects garbage, asks again, and then throws a RangeError.
                self.used.fetch_sub(length, Ordering::Relaxed);
                return null_mut();
            }
            // A tenth more, which garbage is likely to be collected from meanwhile.
            if used - self.limits.buffers > self.limits.buffers / 10 {
                self.strike(Limit::Buffers);
            }
        }
        let Some(layout) = layout_of(length) else { return null_mut() };
        // SAFETY: the layout has a size.
        let data = unsafe { from(layout) };
        if data.is_null() {
            self.used.fetch_sub(length, Ordering::Relaxed);
        }
        data.cast()
    }
}

/// What an isolate has of memory: its heap, and what hangs on it.
pub(super) fn bytes_of(runtime: &mut JsRuntime) -> usize {
    let heap = runtime.v8_isolate().get_heap_statistics();
    heap.total_physical_size() + heap.malloced_memory() + heap.external_memory()
}

fn layout_of(length: usize) -> Option<Layout> {
    Layout::from_size_align(length.max(1), ALIGNMENT).ok()
}

static ALLOCATOR: v8::RustAllocatorVtable<Memory> =
    v8::RustAllocatorVtable { allocate, allocate_uninitialized, free, drop: release };

unsafe extern "C" fn allocate(memory: &Memory, length: usize) -> *mut c_void {
    memory.allocate(length, alloc_zeroed)
}

unsafe extern "C" fn allocate_uninitialized(memory: &Memory, length: usize) -> *mut c_void {
    memory.allocate(length, alloc)
}

unsafe extern "C" fn free(memory: &Memory, data: *mut c_void, length: usize) {
    let layout = layout_of(length).expect("it was allocated with this length");
    // SAFETY: V8 gives back what `allocate` gave, with its length, once.
    unsafe { dealloc(data.cast(), layout) };
    memory.used.fetch_sub(length, Ordering::Relaxed);
}

unsafe extern "C" fn release(memory: *const Memory) {
    // SAFETY: it is what `allocator` made of an `Arc`; V8 gives it back once.
    drop(unsafe { Arc::from_raw(memory) });
}

/// With a handler, V8 fails as it does for any other reason, and `on_engine_failure` tells.
unsafe extern "C" fn say_nothing(_: *const c_char, _: &v8::OomDetails) {}

unsafe extern "C" fn look(isolate: v8::UnsafeRawIsolatePtr, memory: *mut c_void) {
    // SAFETY: V8 calls back on the thread that has the isolate entered; the realm keeps `memory`
    // for as long as the isolate lives.
    let (mut isolate, memory) = unsafe {
        (v8::Isolate::from_raw_isolate_ptr(isolate), &*memory.cast_const().cast::<Memory>())
    };
    memory.look_at_buffers(&mut isolate);
    memory.look_at_heap(&mut isolate);
}

unsafe extern "C" fn look_after_collection(
    isolate: v8::UnsafeRawIsolatePtr,
    _: v8::GCType,
    _: v8::GCCallbackFlags,
    memory: *mut c_void,
) {
    // SAFETY: as in `look`.
    let (mut isolate, memory) = unsafe {
        (v8::Isolate::from_raw_isolate_ptr(isolate), &*memory.cast_const().cast::<Memory>())
    };
    if isolate.get_heap_statistics().used_heap_size() > memory.limits.heap {
        memory.strike(Limit::Heap);
    }
}
