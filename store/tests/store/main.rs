//! What users of the store see, through its public API only.
//! Invariant: no sleeps and no clock; every time is written in the test.

mod background_fetch;
mod buckets;
mod caches;
mod fetch;
mod indexed_db;
mod indexed_db_blobs;
mod indexed_db_damage;
mod listing;
mod model;
mod open;
mod periodic;
mod power;
mod registrations;
mod script_code;
mod sync;
mod transitions;

use kittiwake_store::{
    InstalledWorker, RegistrationId, ScriptResource, ScriptType, Store, UpdateViaCache,
};

/// A worker at `/sw.js` of an origin, with one imported script.
fn worker(origin: &str) -> InstalledWorker {
    InstalledWorker {
        origin: origin.into(),
        scope: format!("{origin}/"),
        script_url: format!("{origin}/sw.js"),
        script_type: ScriptType::Classic,
        update_via_cache: UpdateViaCache::Imports,
        router_rules: "[]".into(),
        resources: vec![
            script(&format!("{origin}/sw.js"), b"importScripts('/lib.js')"),
            script(&format!("{origin}/lib.js"), b"onsync = () => {}"),
        ],
    }
}

fn script(url: &str, body: &[u8]) -> ScriptResource {
    ScriptResource {
        url: url.into(),
        content_type: "text/javascript; charset=utf-8".into(),
        body: body.into(),
    }
}

/// A registration of an origin with an activated worker.
fn activated(store: &Store, origin: &str) -> RegistrationId {
    activated_at(store, &format!("{origin}/"))
}

/// One of several registrations of an origin.
fn activated_at(store: &Store, scope: &str) -> RegistrationId {
    let origin = scope.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let worker = InstalledWorker { scope: scope.to_owned(), ..worker(&origin) };
    let (registration, version) = store.install(&worker).unwrap();
    store.activating(version).unwrap();
    store.activated(version).unwrap();
    registration
}
