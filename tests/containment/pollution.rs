//! Scripts that put traps into the language's own objects, where the platform may step on them.
//!
//! Invariant: a trap is a script's own affair: the platform neither falls into it nor hands it
//! anything of the host's.

use crate::world::{World, run};

/// What touches most of the platform. Each answer is heard; `nothing` where it does not matter.
const TOUCH_EVERYTHING: &str = "
    async function touchEverything() {
      const response = await fetch('/sw.js', { headers: { a: 'b' }, method: 'GET' });
      await response.clone().text();
      const cache = await caches.open('touched');
      await cache.put('/a', response);
      await cache.match('/a');
      await cache.keys();
      await caches.keys();
      await cookieStore.set('a', 'b');
      await cookieStore.getAll();
      await navigator.storage.estimate();
      await navigator.locks.request('a', () => navigator.locks.query());
      await navigator.permissions.query({ name: 'background-sync' });
      const bucket = await navigator.storageBuckets.open('a');
      await bucket.caches.keys();
      const registration = await navigator.serviceWorker.ready;
      await registration.sync.register('a');
      await registration.sync.getTags();
      await registration.periodicSync.getTags();
      await navigator.serviceWorker.getRegistrations();
      await new Promise((resolve, reject) => {
        const request = indexedDB.open('touched', 1);
        request.onupgradeneeded = () => request.result.createObjectStore('s', { keyPath: 'k' });
        request.onsuccess = () => {
          const store = request.result.transaction('s', 'readwrite').objectStore('s');
          store.put({ k: [1, new Date(0), 'x'], v: new Map([[1, { a: new Set([2]) }]]) });
          store.getAll().onsuccess = () => { request.result.close(); resolve(); };
        };
        request.onerror = () => reject(request.error);
      });
      const { port1, port2 } = new MessageChannel();
      const heard = new Promise((resolve) => { port2.onmessage = resolve; });
      port1.postMessage({ a: [1, 2] });
      await heard;
      port1.close();
      structuredClone({ a: [new Error('x')], b: new Date(0) });
      await new Blob(['a', new Uint8Array(1)]).arrayBuffer();
      await new Response(new ReadableStream({
        start(controller) { controller.enqueue(new Uint8Array(3)); controller.close(); },
      })).arrayBuffer();
      await crypto.subtle.digest('SHA-256', new Uint8Array(1));
      new URL('/a?b=c', location.href).searchParams.get('b');
      new URLPattern({ pathname: '/:a' }).exec('https://a.test/b');
      const controller = new AbortController();
      controller.abort();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }";

/// Sets the traps, touches everything, takes them away again, and tells who fell into one.
fn fell_into(traps: &str) -> Vec<String> {
    run(&format!(
        "{TOUCH_EVERYTHING}
         const log = console.log, trapped = new Set();
         const trap = (name, args) => {{
           // The engine's own frames show who called; a script's own steps do not count.
           trapped.add(name);
         }};
         {traps}
         touchEverything().then(() => log('touched', ...trapped), (error) => {{
           log('failed', error instanceof Error ? error.stack : String(error));
         }});"
    ))
}

#[test]
fn a_getter_of_every_object_does_not_reach_the_host() {
    // Options are read as the specifications say, from their prototypes too; values that the host
    // gives have none of these names but their own.
    let traps = "for (const name of ['rid', 'parts', 'body', 'socket', 'bytes', 'registration',
          'timerLimit', 'kind', 'promise', 'ops', 'data', 'transfer', 'number', 'granted']) {
          Object.defineProperty(Object.prototype, name, {
            get() { trap(name); return undefined; },
            set() { trap(`set ${name}`); },
            configurable: true,
          });
        }";
    let heard = fell_into(traps);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("touched"), "{heard:?}");
    for name in ["rid", "parts", "socket", "bytes", "timerLimit", "ops", "granted", "set "] {
        let fell = heard[0].split(' ').any(|word| word == name);
        assert!(!fell, "{heard:?}");
    }
}

#[test]
fn iterators_of_arrays_that_throw_break_no_host() {
    let traps = "const own = Array.prototype[Symbol.iterator];
        Array.prototype[Symbol.iterator] = function () {
          const frames = new Error().stack.split('\\n').slice(2, 3).join();
          if (!frames.includes('bad.test')) throw new Error('trap');
          return own.call(this);
        };";
    let world = World::start(&[]);
    world.attack(&format!(
        "{TOUCH_EVERYTHING} const log = console.log; {traps}
         touchEverything().then(() => log('done'), () => log('done'));"
    ));
    assert_eq!(world.hears(), ["done"]);
    world.end_unharmed();
}

#[test]
fn a_then_of_every_object_ends_promises_and_nothing_else() {
    let world = World::start(&[]);
    world.attack(&format!(
        "{TOUCH_EVERYTHING}
         const seen = [];
         Object.prototype.then = function (resolve) {{ seen.push(this); resolve(1); }};
         touchEverything().catch(() => {{}});
         setTimeout(() => {{
           const own = (value) => value === globalThis || value?.constructor?.name in globalThis;
           console.log(seen.every(own) ? 'only the platform\\'s own objects' : 'host objects');
         }}, 1000);"
    ));
    assert_eq!(world.hears(), ["only the platform's own objects"]);
    world.end_unharmed();
}

#[test]
fn promises_that_are_replaced_break_no_host() {
    for traps in [
        "Promise.prototype.then = () => { throw new Error('trap'); };",
        "Promise.prototype.then = function () { return 1; };",
        "Promise.resolve = Promise.reject = () => { throw new Error('trap'); };",
        "Object.defineProperty(Promise.prototype, 'constructor', { get() { throw 1; } });",
        "globalThis.Promise = undefined;",
        "Promise[Symbol.species] = undefined; Object.freeze(Promise.prototype);",
    ] {
        let world = World::start(&[]);
        world.attack(&format!("{TOUCH_EVERYTHING} {traps} touchEverything();"));
        world.hears();
        world.end_unharmed();
    }
}

#[test]
fn methods_that_are_replaced_break_no_host() {
    let traps = "const traps = [Array, Map, Set, WeakMap, String, Function, RegExp, Uint8Array,
          ArrayBuffer, Error, Date, Number, Symbol].map(({ prototype }) => prototype);
        traps.push(Object.getPrototypeOf(Uint8Array.prototype), Object.prototype,
          Object.getPrototypeOf([][Symbol.iterator]()), Reflect, JSON, Math);
        for (const target of traps) {
          for (const name of Reflect.ownKeys(target)) {
            try { target[name] = () => { throw new Error('trap'); }; } catch {}
          }
        }";
    let world = World::start(&[]);
    world.attack(&format!(
        "{TOUCH_EVERYTHING} {traps} touchEverything().catch(() => {{}}); throw new Error('x');"
    ));
    world.hears();
    world.end_unharmed();
}

#[test]
fn globals_that_are_gone_break_no_host() {
    let traps = "for (const name of Reflect.ownKeys(globalThis)) {
          if (name !== 'touchEverything') try { delete globalThis[name]; } catch {}
        }";
    let world = World::start(&[]);
    world.attack(&format!("{TOUCH_EVERYTHING} const go = touchEverything; {traps} go();"));
    world.hears();
    world.end_unharmed();
}

#[test]
fn a_worker_that_traps_everything_still_ends_its_events() {
    let world = World::start(&[]);
    world.register(
        "trapped",
        "Object.prototype.then = () => { throw new Error('trap'); };
         Array.prototype[Symbol.iterator] = () => { throw new Error('trap'); };
         Object.defineProperty(Object.prototype, 'waitUntil', { set() {}, get() { throw 1; } });
         onmessage = (event) => {
           event.waitUntil({ then() { throw new Error('rejected'); } });
           console.log('heard');
         };",
    );
    world.post("trapped", "go");
    world.pass(std::time::Duration::from_secs(1));
    let heard = world.hears();
    assert_eq!(heard[0], "heard", "{heard:?}");
    assert!(!heard.iter().any(|line| line.contains("terminated")), "{heard:?}");
    world.end_unharmed();
}

#[test]
fn what_throws_while_it_is_told_is_told_all_the_same() {
    for thrown in [
        "new Proxy(new Error('x'), { get() { throw new Error('trap'); } })",
        "new Proxy(Object.create(null), { getPrototypeOf() { throw 1; } })",
        "Object.create(null)",
        "{ get name() { throw this; }, get message() { throw this; }, toString() { throw this; } }",
        "Object.assign(new Error('x'), { toString: null, [Symbol.toPrimitive]: 1 })",
        "Symbol('x')",
        "class { static toString() { throw 1; } }",
        "(() => { const e = new Error('x'); e.cause = e; return e; })()",
        "(() => { const e = new AggregateError([]); e.errors = [e, e]; return e; })()",
        "(() => { const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { \
         throw 1; } }); return e; })()",
    ] {
        for way in ["throw VALUE", "Promise.reject(VALUE)", "reportError(VALUE)"] {
            let heard = run(&way.replace("VALUE", &format!("({thrown})")));
            assert_eq!(heard.len(), 1, "{way} {thrown}: {heard:?}");
            assert!(heard[0].starts_with("error: "), "{way} {thrown}: {heard:?}");
        }
        let heard = run(&format!("console.log({thrown})"));
        assert!(heard.len() == 1, "console.log {thrown}: {heard:?}");
    }
}
