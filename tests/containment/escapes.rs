//! Scripts that want out: to the engine's own objects, to the machine, to other origins.

use std::time::Duration;

use futures::executor::block_on;

use crate::world::{BAD, World, run, url};

/// Walks all that can be reached from the global, by properties, accessors and prototypes.
const WALK: &str = r#"
    function walk(found) {
      const seen = new Set(), queue = [[globalThis, "globalThis"]];
      const add = (value, path) => {
        if ((typeof value === "object" && value !== null || typeof value === "function") &&
          !seen.has(value)) {
          seen.add(value);
          queue.push([value, path]);
        }
      };
      while (queue.length > 0) {
        const [value, path] = queue.shift();
        found(value, path);
        add(Object.getPrototypeOf(value), `${path}.__proto__`);
        for (const key of Reflect.ownKeys(value)) {
          const step = `${path}.${String(key)}`;
          const descriptor = Object.getOwnPropertyDescriptor(value, key);
          add(descriptor.value, step);
          add(descriptor.get, `get ${step}`);
          add(descriptor.set, `set ${step}`);
          if (descriptor.get) try { add(value[key], step); } catch {}
        }
      }
      return seen.size;
    }
    function lookForTheEngine() {
      // Getters that answer with promises reject them.
      addEventListener("unhandledrejection", (event) => event.preventDefault());
      const bad = [];
      const size = walk((value, path) => {
        const name = typeof value === "function" &&
          Object.getOwnPropertyDescriptor(value, "name")?.value;
        if (typeof name === "string" && name.startsWith("op_")) bad.push(path);
        for (const key of ["ops", "opNames", "internals", "primordials", "core", "__bootstrap",
          "loadExtScript", "runMicrotasks", "setMacrotaskCallback"]) {
          if (Object.hasOwn(value, key)) bad.push(`${path}.${key}`);
        }
      });
      console.log(size > 1000 ? "walked" : `only ${size}`, ...bad);
    }"#;

#[test]
fn no_way_leads_from_a_pages_globals_to_the_engine() {
    assert_eq!(run(&format!("{WALK} lookForTheEngine();")), ["walked"]);
}

#[test]
fn no_way_leads_from_a_workers_globals_to_the_engine() {
    let world = World::start(&[]);
    world.register("walker", &format!("{WALK} onmessage = lookForTheEngine;"));
    world.post("walker", "go");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.hears(), ["walked"]);
    world.end_unharmed();
}

#[test]
fn no_global_is_the_engines_or_the_machines() {
    let script =
        "const names = ['Deno', '__bootstrap', '__kittiwake', '__kittiwakeTest', 'process',
          'require', 'module', 'exports', 'Buffer', 'global', 'gc', 'print', 'read', 'load', 'quit',
          'internals', 'primordials', 'SharedArrayBuffer', 'XMLHttpRequest', 'Worker', 'version'];
        console.log(names.filter((name) => name in globalThis).join() || 'none');
        for (const source of ['%GetOptimizationStatus(f)', '%DebugPrint(1)', 'import.meta']) {
          try { (0, eval)(source); console.log(source); } catch (error) { console.log(error.name); }
        }";
    assert_eq!(run(script), ["none", "SyntaxError", "SyntaxError", "SyntaxError"]);
}

#[test]
fn frames_of_a_stack_show_no_function_of_the_engine() {
    let script = "Error.prepareStackTrace = (error, frames) => frames;
        const look = () => {
          for (const frame of new Error().stack) {
            const file = String(frame.getFileName?.());
            if (file.includes('bad.test')) continue;
            for (const leak of [frame.getFunction?.(), frame.getThis?.()]) {
              if (leak !== undefined && leak !== null && leak !== globalThis) {
                console.log(file, typeof leak, leak.name);
              }
            }
          }
        };
        const target = new EventTarget();
        target.addEventListener('x', look);
        target.dispatchEvent(new Event('x'));
        new Headers({ get a() { look(); return 'b'; } });
        new Request('/', { get method() { look(); return 'GET'; } });
        structuredClone({ get a() { look(); return 1; } });
        [2, 1].sort(() => { look(); return 0; });
        new ReadableStream({ start: look, pull: look, cancel: look }).cancel();
        new TransformStream({ start: look });
        setTimeout(look);
        queueMicrotask(look);
        navigator.locks.request('a', look);
        new URLSearchParams({ get a() { look(); return 1; } });
        crypto.subtle.digest({ get name() { look(); return 'SHA-1'; } }, new Uint8Array(1));
        setTimeout(() => console.log('looked'), 100);";
    assert_eq!(run(script), ["looked"]);
}

#[test]
fn no_function_tells_the_engine_that_called_it() {
    let script = "function look() {
          let f = look;
          for (let depth = 0; depth < 50 && f; depth++) {
            let caller;
            // A strict function has none to tell.
            try { caller = f.caller; } catch { break; }
            if (caller && !String(caller).includes('look')) console.log('caller', caller.name);
            if (caller) try { void caller.arguments; } catch {}
            f = caller;
          }
        }
        const target = new EventTarget();
        target.addEventListener('x', look);
        target.dispatchEvent(new Event('x'));
        new Headers({ get a() { look(); return 'b'; } });
        new ReadableStream({ start: look });
        new Promise(look);
        setTimeout(look);
        setTimeout(() => console.log('looked'), 100);";
    assert_eq!(run(script), ["looked"]);
}

#[test]
fn what_the_platform_throws_and_gives_belongs_to_the_realm_that_asked() {
    let script =
        "const own = (value) => value.constructor.constructor('return this')() === globalThis;
        (async () => {
          const values = [new Headers(), new URL('a:b'), await caches.keys(), structuredClone({}),
            structuredClone([]), await new Response('').arrayBuffer(), performance.now.bind(1)];
          for (const fails of [() => new URL('x'), () => new Headers(1), () => atob('?'),
            () => structuredClone(() => {}), () => fetch('x:y'), () => caches.open(Symbol()),
            () => indexedDB.open(''), () => new RegExp('('), () => navigator.locks.request()]) {
            try { values.push(await fails()); } catch (error) { values.push(error); }
          }
          console.log(values.every(own) ? 'all of them' : values.filter((v) => !own(v)).join());
        })()";
    assert_eq!(run(script), ["all of them"]);
}

#[test]
fn an_object_that_pretends_to_be_the_hosts_is_refused() {
    let script = "const brand = Symbol.for('Deno.core.hostObject');
        (async () => {
          let refused = 0, tried = 0;
          for (const type of ['x', '', '__proto__', 'constructor', 'toString', 1, null, undefined,
            Symbol(), {}, 'Blob', 'File', 'CryptoKey', 'DOMException', 'MessagePort',
            'ReadableStream']) {
            for (const data of [{}, { parts: [{}] }, { parts: [{ uuid: 'x' }] }, { key: 1 }]) {
              const forged = { [brand]: () => ({ ...data, type }) };
              for (const way of [structuredClone, (value) => history.pushState(value, ''),
                (value) => new MessageChannel().port1.postMessage(value),
                (value) => new BroadcastChannel('x').postMessage(value),
                (value) => new Notification('x', { data: value }).data]) {
                tried++;
                try { way(forged); } catch { refused++; }
              }
            }
          }
          for (const value of [1, 'x', {}, () => { throw 1; }, () => 1]) {
            try { structuredClone({ [brand]: value }); } catch {}
          }
          console.log(tried, refused > 0);
        })()";
    assert_eq!(run(script), ["320 true"]);
}

#[test]
fn an_object_that_pretends_to_be_the_hosts_is_refused_by_databases() {
    let script = "const brand = Symbol.for('Deno.core.hostObject');
        const opened = indexedDB.open('forged', 1);
        opened.onupgradeneeded = () => opened.result.createObjectStore('s');
        opened.onsuccess = () => {
          const store = opened.result.transaction('s', 'readwrite').objectStore('s');
          for (const type of ['x', 'Blob', 'constructor']) {
            try { store.put({ [brand]: () => ({ type, parts: [{ uuid: 'x' }] }) }, type); }
            catch {}
          }
          const all = store.getAll();
          all.onsuccess = all.onerror = (event) => { event.preventDefault(); console.log('read'); };
        };";
    let heard = run(script);
    assert!(heard.iter().any(|line| line == "read"), "{heard:?}");
}

#[test]
fn a_text_that_no_string_can_hold_does_not_end_the_process() {
    let world = World::start(&[]);
    world.attack("new Error('x'.repeat(2 ** 29 - 30)).stack");
    let heard = world.hears();
    assert!(heard.len() <= 1, "{heard:?}");
    world.end_unharmed();
}

#[test]
fn no_interface_reads_files() {
    let script = "(async () => {
          const ways = {
            fetch: (url) => fetch(url), noCors: (url) => fetch(url, { mode: 'no-cors' }),
            request: (url) => fetch(new Request(url)), socket: (url) => new WebSocket(url),
            events: (url) => new Promise((resolve, reject) => {
              const source = new EventSource(url);
              source.onopen = resolve;
              source.onerror = () => { source.close(); reject(); };
            }),
            register: (url) => navigator.serviceWorker.register(url),
            scope: (url) => navigator.serviceWorker.register('/sw.js', { scope: url }),
            add: async (url) => (await caches.open('x')).add(url),
            put: async (url) => (await caches.open('x')).put(url, new Response('')),
            imports: (url) => import(url), json: (url) => import(url, { with: { type: 'json' } }),
            navigation: async (url) => { location.href = url; throw location.href; },
            wasm: (url) => WebAssembly.compileStreaming(fetch(url)),
          };
          for (const path of ['file:///etc/passwd', 'file://localhost/etc/passwd', 'FILE:/etc/passwd',
            'view-source:file:///etc/passwd', 'jar:file:///etc/passwd', 'filesystem:x',
            'ext:core/mod.js', 'ext:kittiwake/bootstrap.js', 'node:fs', 'npm:x', 'internal:x']) {
            for (const name in ways) {
              try { await ways[name](path); console.log(name, path); } catch {}
            }
          }
          console.log('none');
        })()";
    let told = run(script).into_iter();
    // The trace tells which modules the page has not got, and why.
    let told = told.filter(|line| !line.contains(" was not imported: the scheme "));
    assert_eq!(told.collect::<Vec<_>>(), ["none"]);
}

#[test]
fn a_worker_imports_no_files() {
    let world = World::start(&[]);
    world.register(
        "importer",
        "for (const path of ['file:///etc/passwd', 'file:/etc/passwd', 'ext:core/mod.js',
           'data:text/javascript,console.log(1)', '/../../../etc/passwd']) {
           try { importScripts(path); console.log(path); }
           catch (error) { console.log(error.name); }
         }
         import('file:///etc/passwd').then(() => console.log('imported'), () => {});
         clients.openWindow('file:///etc/passwd').then(() => console.log('opened'), () => {});",
    );
    let mut heard = world.hears();
    // The operator hears why.
    heard.retain(|line| !line.starts_with("error: importScripts of "));
    let data = "data:text/javascript,console.log(1)";
    let refused = "NetworkError";
    assert_eq!(heard, [refused, refused, refused, "1", data, refused]);
    world.end_unharmed();
}

#[test]
fn a_path_leads_out_of_no_folder_that_is_served() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(outside.path().join("secret.txt"), "the hidden text").expect("a file");
    let inside = outside.path().join("site");
    std::fs::create_dir(&inside).expect("a folder");
    std::fs::write(inside.join("own.txt"), "own").expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(outside.path().join("secret.txt"), inside.join("link.txt")).expect("a link");
        symlink(outside.path(), inside.join("folder")).expect("a link");
    }
    let world = World::with(&[], |builder| builder.serve(url("https://site.test/"), &inside));
    world.open(
        "https://site.test/",
        "(async () => {
           for (const path of ['/own.txt', '/../secret.txt', '/%2e%2e/secret.txt',
             '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/..%5csecret.txt', '/..\\\\secret.txt',
             '/link.txt', '/folder/secret.txt', '/own.txt/../../secret.txt', '//secret.txt',
             '/./../secret.txt', '/own.txt%00', '/%00/../secret.txt', '/..;/secret.txt',
             '/%c0%ae%c0%ae/secret.txt', '/folder/../../secret.txt', '/site/../../secret.txt']) {
             const text = await fetch(path).then((response) => response.text(), () => '');
             if (text.includes('hidden')) console.log(path);
             if (text === 'own') console.log('own');
           }
           console.log('done');
         })()",
    );
    world.pass(Duration::from_secs(1));
    assert_eq!(world.hears(), ["own", "done"]);
    world.end_unharmed();
}

#[test]
fn a_line_break_gets_into_no_header() {
    let world = World::start(&[]);
    world.attack(
        "(async () => {
           const bad = ['a\\r\\nb: c', 'a\\nb', 'a\\rb', 'a\\0b'];
           const granted = [];
           for (const text of bad) {
             for (const [name, way] of Object.entries({
               value: () => new Headers({ a: text }), name: () => new Headers({ [text]: 'a' }),
               append: () => new Headers().append('a', text),
               init: () => new Request('/', { headers: { a: text } }),
               response: () => new Response('', { headers: { a: text } }),
               method: () => new Request('/', { method: text }),
               statusText: () => new Response('', { statusText: text }),
               protocol: () => new WebSocket('wss://api.test/', text),
               cookie: () => cookieStore.set('a', text),
               cookieName: () => cookieStore.set(text, 'a'),
               cookiePath: () => cookieStore.set({ name: 'a', value: 'b', path: `/${text}` }),
               domain: () => cookieStore.set({ name: 'a', value: 'b', domain: `${text}.test` }),
               type: async () => {
                 const { type } = new Blob([], { type: text });
                 if (!/[\\r\\n]/.test(type)) throw type;
               },
               form: async () => {
                 const form = new FormData();
                 form.append(text, new File(['x'], text));
                 const body = await new Response(form).text();
                 if (!body.includes('b: c') && !body.includes('filename=\"a\\n')) throw body;
                 if (/name=\"a[\\r\\n]/.test(body)) return;
                 throw body;
               },
             })) {
               try { await way(); granted.push(`${name} ${JSON.stringify(text)}`); } catch {}
             }
           }
           console.log(granted.join() || 'none');
         })()",
    );
    assert_eq!(world.hears(), ["none"]);
    world.end_unharmed();
}

#[test]
fn headers_that_are_the_hosts_are_not_the_scripts_to_choose() {
    let script = "const names = ['Host', 'Cookie', 'Origin', 'Referer', 'Content-Length',
          'Transfer-Encoding', 'Connection', 'Sec-Fetch-Mode', 'Proxy-Authorization', 'Via', 'TE',
          'Upgrade', 'Set-Cookie', 'Access-Control-Request-Method', 'Date', 'Expect'];
        const request = new Request('/', { headers: names.map((name) => [name, 'forged']) });
        console.log([...request.headers].join() || 'none');
        for (const method of ['TRACE', 'CONNECT']) {
          try { new Request('/', { method }); } catch (error) { console.log(error.name); }
        }";
    assert_eq!(run(script), ["none", "TypeError", "TypeError"]);
}

#[test]
fn a_page_that_is_closed_runs_nothing_more() {
    let world = World::start(&[]);
    let page = url(BAD).join("closing").expect("a URL");
    let script = "const again = () => { console.log('alive'); setTimeout(again, 1000); };
        setTimeout(again, 1000);
        addEventListener('pagehide', () => {
          queueMicrotask(() => setTimeout(() => console.log('a timer'), 0));
          Promise.resolve().then(() => fetch('/').then(() => console.log('a response')));
          new FinalizationRegistry(() => console.log('a finalizer')).register({}, 1);
        });";
    let source = kittiwake::PageSource::Script(page.clone(), script.to_owned());
    let opened = block_on(world.runtime.open_page(page, source)).expect("it opens");
    world.pass(Duration::from_millis(1_500));
    assert_eq!(world.hears(), ["alive"]);
    block_on(world.runtime.close_page(opened)).expect("it closes");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.hears(), [""; 0]);
    world.end_unharmed();
}

#[test]
fn webassembly_imports_what_the_script_gives_and_nothing_else() {
    // (module (import "env" "memory" (memory 1)))
    let script = "const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 2, 15, 1, 3, 101, 110,
          118, 6, 109, 101, 109, 111, 114, 121, 2, 0, 1]);
        const module = new WebAssembly.Module(bytes);
        for (const imports of [undefined, {}, { env: {} }, { env: { memory: 1 } }]) {
          try { new WebAssembly.Instance(module, imports); console.log('made'); }
          catch (error) { console.log(error.name); }
        }";
    assert_eq!(run(script), ["TypeError", "TypeError", "LinkError", "LinkError"]);
}

#[test]
fn inputs_that_are_too_long_are_refused_where_the_host_would_keep_them() {
    let script = "const long = (units) => 'x'.repeat(units), refused = [];
        (async () => {
          const registration = await navigator.serviceWorker.ready;
          for (const [name, way] of Object.entries({
            tag: () => registration.sync.register(long(10_241)),
            periodic: () => registration.periodicSync.register(long(10_241)),
            notification: () => registration.showNotification(long((1 << 20) + 1)),
            state: () => history.pushState(long((2 << 20) + 1), ''),
            lock: () => navigator.locks.request(long((64 << 10) + 1), () => {}),
            cookie: () => cookieStore.set('a', long(4097)),
            bucket: () => navigator.storageBuckets.open(long(65)),
          })) {
            try { await way(); } catch { refused.push(name); }
          }
          console.log(refused.join());
        })()";
    assert_eq!(run(script), ["tag,periodic,notification,state,lock,cookie,bucket"]);
}
