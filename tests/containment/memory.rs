//! Scripts that want all memory, inside V8's heap and outside it.

use kittiwake::Limit;

use crate::world::{BAD, World, attack, run, servers};

const HEAP: u64 = 48 << 20;
const BUFFERS: u64 = 16 << 20;

/// The attack fills its heap, and its realm ends.
#[track_caller]
fn fills_its_heap(script: &str) {
    assert_eq!(attack(&[(Limit::Heap, HEAP)], script), ["heap terminated"]);
}

/// The attack is refused by an exception, and its realm goes on.
#[track_caller]
fn is_refused(limits: &[(Limit, u64)], script: &str, expected: &[&str]) {
    let script = format!("try {{ {script} }} catch (error) {{ console.log(`${{error}}`); }}");
    let world = World::start(limits);
    world.attack(&format!("{script}; console.log('goes on');"));
    assert_eq!(world.hears(), [expected, &["goes on"]].concat());
    world.end_unharmed();
}

const TOO_DEEP: &str = "RangeError: Maximum call stack size exceeded";
const NO_MEMORY: &str = "RangeError: Array buffer allocation failed";

#[test]
fn arrays_that_grow_for_ever_end_their_realm_alone() {
    fills_its_heap("const all = []; for (;;) all.push(new Array(1e5).fill(1));");
}

#[test]
fn promises_without_end_end_their_realm_alone() {
    fills_its_heap("const all = []; for (;;) all.push(new Promise(() => {}).then(() => {}));");
}

#[test]
fn microtasks_without_end_end_their_realm_alone() {
    fills_its_heap("for (;;) queueMicrotask(() => {});");
}

#[test]
fn strings_that_grow_for_ever_end_their_realm_alone() {
    fills_its_heap(
        "const all = [];
         for (let i = 0;; i++) { all.push('x'.repeat(2 ** 20) + i); /y/.test(all[i]); }",
    );
}

#[test]
fn one_allocation_larger_than_the_heap_does_not_end_the_process() {
    fills_its_heap("const all = new Array(2 ** 24).fill(0.5); for (;;) new Array(1e4).fill(all);");
}

#[test]
fn a_source_that_compiles_to_more_than_the_heap_does_not_end_the_process() {
    fills_its_heap("const f = new Function(`return [${'1,'.repeat(2 ** 23)}]`); for (;;) f();");
}

#[test]
fn json_that_is_parsed_to_more_than_the_heap_ends_its_realm_alone() {
    fills_its_heap(
        "const all = [], text = `[${'{},'.repeat(1e5)}1]`; for (;;) all.push(JSON.parse(text));",
    );
}

#[test]
fn a_string_whose_json_is_more_than_the_heap_does_not_end_the_process() {
    let script = "let s = '\\\\\"'.repeat(6e7);
        for (;;) { try { s = JSON.stringify([s]); } catch {} }";
    fills_its_heap(script);
}

#[test]
fn an_array_of_all_indices_is_a_range_error() {
    is_refused(&[], "new Array(2 ** 32)", &["RangeError: Invalid array length"]);
}

#[test]
fn recursion_without_end_is_a_range_error() {
    is_refused(&[], "(function f() { f(); })()", &[TOO_DEEP]);
}

#[test]
fn recursion_without_end_through_the_platform_is_a_range_error() {
    let script = "const target = new EventTarget();
        target.addEventListener('x', () => target.dispatchEvent(new Event('x')));
        self.addEventListener('error', (event) => event.preventDefault());
        (function f() { try { new Headers({ get a() { f(); } }); } catch (e) { throw e; } })()";
    is_refused(&[], script, &[TOO_DEEP]);
}

#[test]
fn a_value_that_is_nested_too_deep_is_not_cloned() {
    let script = "let o = 1; for (let i = 0; i < 2e5; i++) o = { o }; structuredClone(o)";
    is_refused(&[], script, &[TOO_DEEP]);
}

#[test]
fn a_value_that_is_nested_too_deep_is_no_json() {
    let script = "let o = 1; for (let i = 0; i < 2e5; i++) o = { toJSON: () => [o], o };
        (function f() { JSON.stringify({ toJSON: f }); })()";
    is_refused(&[], script, &[TOO_DEEP]);
}

#[test]
fn a_regular_expression_that_is_nested_too_deep_is_a_syntax_error() {
    let script = "try { new RegExp('('.repeat(1e5) + ')'.repeat(1e5)); }
        catch (error) { throw error.name; }";
    is_refused(&[], script, &["SyntaxError"]);
}

#[test]
fn a_source_that_is_nested_too_deep_is_a_range_error() {
    is_refused(&[], "eval('('.repeat(1e5) + ')'.repeat(1e5))", &[TOO_DEEP]);
}

#[test]
fn an_error_with_a_hundred_thousand_causes_is_told_like_any_other() {
    let script = "let error = new Error('first');
        for (let i = 0; i < 1e5; i++) error = new Error('last', { cause: error });
        throw error";
    assert_eq!(run(script), ["error: Error: last"]);
    let script = "let error = new Error('first');
        for (let i = 0; i < 1e5; i++) error = new AggregateError([error], 'last');
        throw error";
    assert_eq!(run(script), ["error: AggregateError: last"]);
}

#[test]
fn a_buffer_that_is_too_large_is_a_range_error() {
    for script in [
        "new ArrayBuffer(2 ** 40)",
        "new Uint8Array(2 ** 30)",
        "new ArrayBuffer(1, { maxByteLength: 2 ** 30 }).resize(2 ** 30)",
        "const all = []; for (;;) all.push(new Uint8Array(2 ** 20));",
    ] {
        let script = format!("try {{ {script} }} catch (error) {{ throw error.name; }}");
        is_refused(&[(Limit::Buffers, BUFFERS)], &script, &["RangeError"]);
    }
}

/// As in a browser, a shared WebAssembly memory leads to the constructor that is no global.
const SHARED: &str =
    "const memory = new WebAssembly.Memory({ initial: 0, maximum: 0, shared: true });
    const SharedArrayBuffer = memory.buffer.constructor;
    if (SharedArrayBuffer.name !== 'SharedArrayBuffer') throw SharedArrayBuffer.name;";

#[test]
fn a_shared_buffer_that_is_too_large_is_a_range_error() {
    for script in [
        "new SharedArrayBuffer(2 ** 40)",
        "new SharedArrayBuffer(2 ** 30)",
        "new SharedArrayBuffer(1, { maxByteLength: 2 ** 30 }).grow(2 ** 30)",
        "const all = []; for (;;) all.push(new SharedArrayBuffer(1, { maxByteLength: 2 ** 20 }));",
        "const all = []; for (;;) all.push(new SharedArrayBuffer(2 ** 20));",
    ] {
        let script = format!("{SHARED} try {{ {script} }} catch (error) {{ throw error.name; }}");
        is_refused(&[(Limit::Buffers, BUFFERS)], &script, &["RangeError"]);
    }
}

#[test]
fn buffers_that_are_garbage_count_no_longer() {
    let script = "for (let i = 0; i < 200; i++) new Uint8Array(2 ** 20)";
    is_refused(&[(Limit::Buffers, BUFFERS)], script, &[]);
}

#[test]
fn many_small_buffers_end_their_realm_alone() {
    let script = "const all = []; for (;;) all.push(new Uint8Array(2 ** 12).fill(1));";
    assert_eq!(attack(&[(Limit::Buffers, BUFFERS)], script), ["buffers terminated"]);
}

#[test]
fn webassembly_memories_end_their_realm_alone() {
    let script = "const all = []; for (;;) all.push(new WebAssembly.Memory({ initial: 16 }));";
    assert_eq!(attack(&[(Limit::Buffers, BUFFERS)], script), ["buffers terminated"]);
    let script = "const memory = new WebAssembly.Memory({ initial: 1 });
        for (;;) { memory.grow(16); new Uint8Array(memory.buffer).fill(1); }";
    assert_eq!(attack(&[(Limit::Buffers, BUFFERS)], script), ["buffers terminated"]);
}

#[test]
fn a_webassembly_memory_of_many_gigabytes_is_a_range_error() {
    let script = "try { new WebAssembly.Memory({ initial: 65536 }); }
        catch (error) { throw error.name; }";
    is_refused(&[], script, &["RangeError"]);
}

/// Makes what takes memory mappings: buffers, and a WebAssembly module with many memories.
const MAKERS: &str = "const all = [];
    const buffer = (length = 0) => new ArrayBuffer(length, { maxByteLength: 8192 });
    const number = (n) => n < 128 ? [n] : [n & 127 | 128, ...number(n >> 7)];
    const module = (count) => {
      const section = number(count);
      for (let i = 0; i < count; i++) section.push(0, 1);
      const header = [0, 97, 115, 109, 1, 0, 0, 0, 5, ...number(section.length)];
      return new Uint8Array(header.concat(section));
    };";

/// Each instance is under way, and has its room, while its import is looked up and makes another.
const NESTED: &str = "const bytes = [...module(1e3)];
    const imports = [1, 4, 1, 96, 0, 0, 2, 7, 1, 1, 109, 1, 102, 0, 0];
    bytes.splice(8, 0, ...imports);
    const one = new WebAssembly.Module(new Uint8Array(bytes));
    const nested = (depth) => new WebAssembly.Instance(one, {
      get m() { if (depth > 0) all.push(nested(depth - 1)); return { f() {} }; },
    });
    all.push(nested(50));";

#[test]
fn a_script_cannot_use_up_the_memory_mappings_of_the_process() {
    for (script, expected) in [
        ("for (;;) all.push(buffer(1));", "RangeError"),
        (
            "const cloned = ['~', 1n, /~/, new Map([[~0, { '~': 0.5 }]])];
             for (let i = 0; i < 6000; i++) cloned.push(buffer(i % 9));
             for (;;) all.push(structuredClone(cloned));",
            "DataCloneError",
        ),
        ("for (;;) all.push(new WebAssembly.Memory({ initial: 1 }));", "RangeError"),
        ("new WebAssembly.Instance(new WebAssembly.Module(module(4e4)));", "RangeError"),
        (NESTED, "RangeError"),
    ] {
        let script = format!("{MAKERS} try {{ {script} }} catch (error) {{ throw error.name; }}");
        is_refused(&[(Limit::Buffers, 8 << 30)], &script, &[expected]);
    }
    let script = "WebAssembly.instantiate(module(4e4)).catch((error) => console.log(error.name));
        WebAssembly.compile(module(4e4)).then(WebAssembly.instantiate)
          .catch((error) => console.log(error.name));";
    let world = World::start(&[]);
    world.attack(&format!("{MAKERS} {script}"));
    assert_eq!(world.hears(), ["RangeError", "RangeError"]);
    world.end_unharmed();
}

#[test]
fn a_buffer_cannot_take_most_addresses_of_the_process() {
    let script = "const all = [];
        for (;;) all.push(new ArrayBuffer(0, { maxByteLength: 2 ** 40 }));";
    is_refused(&[], script, &[NO_MEMORY]);
}

#[test]
fn the_memory_mappings_of_garbage_are_taken_again() {
    let script = "for (let i = 0; i < 1e5; i++) new ArrayBuffer(1, { maxByteLength: 8192 });
        const cloned = new ArrayBuffer(1, { maxByteLength: 8192 });
        for (let i = 0; i < 1e5; i++) structuredClone(cloned);";
    is_refused(&[], script, &[]);
}

#[test]
fn what_only_looks_like_buffers_in_a_clone_takes_no_memory_mappings() {
    let script = "const bytes = new Uint8Array(2 ** 20).fill(126), text = '~'.repeat(2 ** 20);
        const error = new Error('~'.repeat(100));
        for (let i = 0; i < 50; i++) {
          structuredClone([bytes, text, `${text}\u{1f426}`, new Float64Array(bytes.buffer), error]);
        }";
    is_refused(&[], script, &[]);
}

#[test]
fn a_body_that_is_larger_than_a_buffer_may_be_is_a_range_error() {
    let world = World::with(&[(Limit::Buffers, 1 << 20)], |builder| {
        let body = "x".repeat(2 << 20);
        let text = format!(r#"{{"https://api.test": {{"GET /": [{{"body": "{body}"}}]}}}}"#);
        builder.servers(servers(&text))
    });
    world.open(
        BAD,
        "fetch('https://api.test/').then((response) => response.arrayBuffer())
           .then((bytes) => console.log(bytes.byteLength), (error) => console.log(`${error}`));",
    );
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(world.hears(), [NO_MEMORY]);
    world.end_unharmed();
}

#[test]
fn blobs_that_fill_the_hosts_memory_are_refused() {
    let script = "const all = [], bytes = new Uint8Array(2 ** 20);
        for (;;) all.push(new Blob([bytes]));";
    is_refused(&[(Limit::Blobs, BUFFERS)], script, &["blobs refused", NO_MEMORY]);
}

#[test]
fn a_flood_of_broadcasts_is_refused() {
    let script = "const channel = new BroadcastChannel('flood'), bytes = new Uint8Array(2 ** 20);
        try { for (;;) channel.postMessage(bytes); } catch (error) { throw error.name; }";
    is_refused(&[(Limit::Messages, BUFFERS)], script, &["messages refused", "DataCloneError"]);
}
