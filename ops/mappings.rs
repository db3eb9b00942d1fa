//! The process's memory mappings. Linux grants so many (`vm.max_map_count`), and V8 ends the
//! process when it gets no more. What scripts make of few bytes takes them: a buffer whose length
//! may change and a WebAssembly memory two each.
//!
//! Invariant: nothing that takes mappings is made for a script while the process has more than its
//! share of them, but for the few that are made between two counts.

use std::fs::{File, read_to_string};
use std::io::Read;
use std::sync::{LazyLock, Mutex, PoisonError};

use deno_core::{op2, v8};

use crate::serialized::{Reader, resizable_buffers};

/// How many of scripts' things may be made before the mappings are counted again.
const BETWEEN_COUNTS: usize = 1 << 10;

/// The mappings of one such thing.
const EACH: usize = 2;

/// What was granted since the last count; of the whole process, as the mappings are.
static GRANTED: Mutex<usize> = Mutex::new(0);

/// Half of what Linux grants by default, and of what it grants here: the rest is for the heaps and
/// stacks of realms. `None` where the system has no such limit or does not tell it.
static MOST: LazyLock<Option<usize>> = LazyLock::new(|| {
    let granted = read_to_string("/proc/sys/vm/max_map_count").ok()?;
    Some((granted.trim().parse::<usize>().ok()? / 2).min(1 << 15))
});

/// Whether there is room for `count` things more, which are made next. If there is none, garbage is
/// collected first.
pub(crate) fn have_room(isolate: &mut v8::Isolate, count: usize) -> bool {
    let Some(most) = *MOST else { return true };
    grant(count, most) || {
        // What the first one found is given back by another thread, which the second waits for.
        isolate.low_memory_notification();
        isolate.low_memory_notification();
        grant(count, most)
    }
}

fn grant(count: usize, most: usize) -> bool {
    let mut granted = GRANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if count > 0 && *granted + count >= BETWEEN_COUNTS {
        // Some of what was granted may not be there yet: another thread makes it now.
        let expected = counted().map(|mappings| mappings + EACH * (*granted + count));
        if expected.is_some_and(|mappings| mappings > most) {
            return false;
        }
        *granted = 0;
    }
    *granted += count;
    true
}

/// Whether there is room to make the value that V8's serialiser wrote as `bytes`.
pub(crate) fn have_room_for_clone(isolate: &mut v8::Isolate, bytes: &[u8]) -> bool {
    have_room(isolate, resizable_buffers(bytes))
}

/// The mappings of the process.
fn counted() -> Option<usize> {
    let mut maps = File::open("/proc/self/maps").ok()?;
    let (mut lines, mut part) = (0, [0; 1 << 14]);
    loop {
        match maps.read(&mut part).ok()? {
            0 => return Some(lines),
            length => lines += part[..length].iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

/// How many memories a WebAssembly module defines, which each of its instances has.
/// <https://webassembly.github.io/spec/core/binary/modules.html#binary-memsec>
fn memories(module: &[u8]) -> Option<u32> {
    const MEMORY_SECTION: u8 = 5;
    let mut rest = Reader(module);
    rest.take(8)?;
    loop {
        let (section, length) = (rest.byte()?, rest.number()?);
        if section == MEMORY_SECTION {
            return rest.number();
        }
        rest.take(length as usize)?;
    }
}

/// As [`have_room`], for buffers whose length may change and for WebAssembly memories.
#[op2(nofast)]
pub fn op_mappings_have_room(scope: &mut v8::PinScope<'_, '_>, #[smi] count: u32) -> bool {
    have_room(scope, count as usize)
}

/// As [`have_room_for_clone`].
#[op2(nofast)]
pub fn op_mappings_have_room_for_clone(
    scope: &mut v8::PinScope<'_, '_>,
    #[buffer] bytes: &[u8],
) -> bool {
    have_room_for_clone(scope, bytes)
}

/// How many memories each instance of `module` has of its own; 0 of what is no module.
#[op2(fast)]
pub fn op_wasm_memories(module: v8::Local<'_, v8::Value>) -> u32 {
    let Ok(module) = v8::Local::<v8::WasmModuleObject>::try_from(module) else { return 0 };
    memories(module.get_compiled_module().get_wire_bytes_ref()).unwrap_or(0)
}
