//! Scripts that want what another origin has.

use std::time::Duration;

use crate::world::{BAD, GOOD, World};

/// What a page of the neighbour's has, and what a page of the attacker's sees of it.
fn sees(secret: &str, attack: &str) -> Vec<String> {
    let world = World::start(&[]);
    world.open(GOOD, secret);
    world.pass(Duration::from_secs(1));
    world.hears();
    world.open(BAD, attack);
    world.pass(Duration::from_secs(60));
    let heard = world.hears();
    world.end_unharmed();
    heard
}

#[test]
fn an_origin_sees_no_caches_of_another() {
    let secret = "caches.open('secret').then((cache) => cache.put('/', new Response('secret')));";
    let attack =
        "(async () => console.log((await caches.keys()).length, await caches.has('secret'),
          await caches.match('https://good.test/'),
          await (await caches.open('secret')).match('https://good.test/')))()";
    assert_eq!(sees(secret, attack), ["0 false undefined undefined"]);
}

#[test]
fn an_origin_sees_no_databases_of_another() {
    let secret = "indexedDB.open('secret', 7);";
    let attack = "(async () => {
          console.log((await indexedDB.databases()).length);
          indexedDB.open('secret').onupgradeneeded = (event) => console.log(event.oldVersion);
        })()";
    assert_eq!(sees(secret, attack), ["0", "0"]);
}

#[test]
fn an_origin_sees_no_storage_buckets_of_another() {
    let secret = "navigator.storageBuckets.open('secret');";
    let attack = "navigator.storageBuckets.keys().then((keys) => console.log(keys.length));";
    assert_eq!(sees(secret, attack), ["0"]);
}

#[test]
fn an_origin_sees_and_takes_no_locks_of_another() {
    let secret = "navigator.locks.request('secret', () => new Promise(() => {}));";
    let attack = "(async () => {
          const { held, pending } = await navigator.locks.query();
          console.log(held.length, pending.length);
          await navigator.locks.request('secret', () => console.log('its own'));
          await navigator.locks.request('secret', { steal: true }, () => {});
        })()";
    assert_eq!(sees(secret, attack), ["0 0", "its own"]);
}

#[test]
fn an_origin_hears_no_channels_of_another() {
    let secret = "const secret = new BroadcastChannel('secret');
        secret.onmessage = () => console.log('heard by the neighbour');
        setInterval(() => secret.postMessage('secret'), 1000);";
    let attack = "const secret = new BroadcastChannel('secret');
        secret.onmessage = () => console.log('heard');
        secret.postMessage('x');";
    assert_eq!(sees(secret, attack), [""; 0]);
}

#[test]
fn an_origin_sees_no_cookies_of_another() {
    let secret = "cookieStore.set('secret', '1');";
    let attack = "(async () => {
          console.log((await cookieStore.getAll()).length);
          try { await cookieStore.getAll({ url: 'https://good.test/' }); console.log('all'); }
          catch (error) { console.log(error.name); }
          try { await cookieStore.set({ name: 'a', value: 'b', domain: 'good.test' }); }
          catch (error) { console.log(error.name); }
        })()";
    assert_eq!(sees(secret, attack), ["0", "TypeError", "TypeError"]);
}

#[test]
fn an_origin_reads_no_blobs_of_another() {
    let world = World::start(&[]);
    world.open(GOOD, "console.log(URL.createObjectURL(new Blob(['secret'])));");
    let blob = world.hears().remove(0);
    assert!(blob.starts_with("blob:"), "{blob}");
    world.attack(&format!(
        "fetch('{blob}').then((response) => response.text())
           .then(console.log, () => console.log('none'));"
    ));
    assert_eq!(world.hears(), ["none"]);
    world.end_unharmed();
}

#[test]
fn an_origin_sees_and_registers_no_workers_of_another() {
    let attack = "(async () => {
          for (const { scope } of await navigator.serviceWorker.getRegistrations()) {
            console.log(scope);
          }
          for (const [script, scope] of [['https://good.test/sw.js', undefined],
            ['/sw.js', 'https://good.test/'], ['https://good.test/sw.js', 'https://good.test/x/']]) {
            try { await navigator.serviceWorker.register(script, { scope }); console.log(script); }
            catch (error) { console.log(error.name); }
          }
          try { console.log(await navigator.serviceWorker.getRegistration('https://good.test/')); }
          catch (error) { console.log(error.name); }
        })()";
    let [security, own] = ["SecurityError", "https://bad.test/"];
    assert_eq!(sees("", attack), [own, security, security, security, "undefined"]);
}

#[test]
fn a_worker_sees_and_reaches_no_clients_of_another_origin() {
    let world = World::start(&[]);
    world.open(GOOD, "navigator.serviceWorker.onmessage = () => console.log('reached');");
    world.register(
        "spy",
        "onmessage = async () => {
           const all = await clients.matchAll({ includeUncontrolled: true, type: 'all' });
           console.log(all.length);
           for (let id = 0; id < 100; id++) {
             if (await clients.get(`client-${id}`)) console.log('found', id);
           }
         };",
    );
    world.post("spy", "go");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.hears(), ["0"]);
    world.end_unharmed();
}

#[test]
fn an_origin_fetches_nothing_of_another_that_cors_forbids() {
    let world = World::with(&[], |builder| builder.cors(kittiwake::Cors::Enforce));
    world.attack(
        "(async () => {
           const read = (mode) => fetch('https://good.test/sw.js', { mode })
             .then((response) => response.text()).then((text) => text.length, (e) => e.name);
           console.log(await read('cors'), await read('no-cors'), await read('same-origin'));
         })()",
    );
    assert_eq!(world.hears(), ["TypeError 0 TypeError"]);
    world.end_unharmed();
}
