//! Service worker registrations, their versions and scripts.
//! Invariant: a registration is never seen half-made.

use kittiwake_store::{
    ClaimLimits, ClaimTurns, NavigationPreload, ScriptType, Settled, Store, StoreError, SyncPolicy,
    Unregistered, UpdateViaCache, VersionId, VersionState,
};

use crate::{activated, script, worker};

#[test]
fn an_installed_worker_is_waiting_with_its_scripts() {
    let store = Store::in_memory().unwrap();
    let mut module = worker("https://app.test");
    module.script_type = ScriptType::Module;
    module.update_via_cache = UpdateViaCache::None;
    let (registration, version) = store.install(&module).unwrap();

    let found = store.registration(registration).unwrap().unwrap();
    assert_eq!(found.origin, "https://app.test");
    assert_eq!(found.scope, "https://app.test/");
    assert_eq!(found.update_via_cache, UpdateViaCache::None);
    assert_eq!(found.active, None);
    let waiting = found.waiting.clone().unwrap();
    assert_eq!(waiting.id, version);
    assert_eq!(waiting.script_url, "https://app.test/sw.js");
    assert_eq!(waiting.script_type, ScriptType::Module);
    assert_eq!(waiting.state, VersionState::Installed);
    assert_eq!(store.registration_for_scope("https://app.test/").unwrap(), Some(found));
    assert_eq!(store.registration_for_scope("https://app.test/deeper/").unwrap(), None);

    let library = script("https://app.test/lib.js", b"onsync = () => {}");
    let main = script("https://app.test/sw.js", b"importScripts('/lib.js')");
    assert_eq!(store.script_resource(version, &main.url).unwrap().as_ref(), Some(&main));
    assert_eq!(store.script_resource(version, "https://app.test/no.js").unwrap(), None);
    assert_eq!(store.script_resources(version).unwrap(), [library, main]);
}

#[test]
fn a_script_body_of_any_bytes_comes_back_unchanged() {
    let store = Store::in_memory().unwrap();
    let mut odd = worker("https://app.test");
    odd.resources[0].body = (0..=255).collect();
    odd.resources[1].body = Vec::new();
    let (_, version) = store.install(&odd).unwrap();
    for resource in odd.resources {
        assert_eq!(store.script_resource(version, &resource.url).unwrap(), Some(resource));
    }
}

#[test]
fn a_worker_becomes_active_step_by_step() {
    let store = Store::in_memory().unwrap();
    let (registration, version) = store.install(&worker("https://app.test")).unwrap();
    store.activating(version).unwrap();
    let active = || store.registration(registration).unwrap().unwrap().active.unwrap();
    assert_eq!(active().state, VersionState::Activating);
    store.activated(version).unwrap();
    assert_eq!(active().state, VersionState::Activated);
    assert_eq!(active().id, version);
}

#[test]
fn an_update_keeps_the_registration_its_syncs_and_its_active_worker() {
    let store = Store::in_memory().unwrap();
    let registration = activated(&store, "https://app.test");
    let active = store.registration(registration).unwrap().unwrap().active.unwrap();
    store.sync_register(registration, "outbox", &SyncPolicy::default(), 0).unwrap();

    let mut update = worker("https://app.test");
    update.update_via_cache = UpdateViaCache::All;
    let (same, first) = store.install(&update).unwrap();
    let (_, second) = store.install(&update).unwrap();
    assert_eq!(same, registration);
    let found = store.registration(registration).unwrap().unwrap();
    assert_eq!(found.update_via_cache, UpdateViaCache::All);
    assert_eq!(found.active, Some(active.clone()));
    assert_eq!(found.waiting.unwrap().id, second);
    assert_eq!(store.script_resources(first).unwrap(), [], "the earlier waiting worker is gone");

    store.activating(second).unwrap();
    let found = store.registration(registration).unwrap().unwrap();
    assert_eq!((found.active.unwrap().id, found.waiting), (second, None));
    assert_eq!(store.script_resources(active.id).unwrap(), [], "the earlier active worker is gone");
    assert_eq!(store.script_resources(second).unwrap().len(), 2);
    assert_eq!(store.sync_tags(registration).unwrap(), ["outbox"]);
}

#[test]
fn an_activation_that_a_crash_cut_off_begins_anew() {
    let store = Store::in_memory().unwrap();
    let (registration, version) = store.install(&worker("https://app.test")).unwrap();
    store.activating(version).unwrap();
    store.activating(version).unwrap();
    store.activated(version).unwrap();
    let found = store.registration(registration).unwrap().unwrap();
    assert_eq!(found.active.unwrap().id, version);
    assert_eq!(store.script_resources(version).unwrap().len(), 2);
}

#[test]
fn steps_of_activation_out_of_order_are_refused() {
    let store = Store::in_memory().unwrap();
    let (_, version) = store.install(&worker("https://app.test")).unwrap();
    let error = store.activated(version).unwrap_err();
    assert_eq!(
        error.to_string(),
        "service worker version 1 must be activating for this, and is installed: \
         read the registration again"
    );
    let error = store.activating(VersionId(9)).unwrap_err();
    assert!(matches!(error, StoreError::VersionState { found: None, .. }), "{error}");
}

#[test]
fn registrations_are_listed_in_the_order_in_which_they_came() {
    let store = Store::in_memory().unwrap();
    for origin in ["https://b.test", "https://a.test", "https://c.test"] {
        store.install(&worker(origin)).unwrap();
    }
    store.install(&worker("https://b.test")).unwrap();
    let origins: Vec<_> =
        store.registrations().unwrap().into_iter().map(|found| found.origin).collect();
    assert_eq!(origins, ["https://b.test", "https://a.test", "https://c.test"]);
}

#[test]
fn unregister_takes_everything_and_its_identifier_never_returns() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let registration = activated(&store, "https://app.test");
    let version = store.registration(registration).unwrap().unwrap().active.unwrap().id;
    store.sync_register(registration, "outbox", &policy, 0).unwrap();
    assert_eq!(
        store
            .sync_claim_due(&policy, 0, &ClaimLimits::up_to(9), &mut ClaimTurns::default())
            .unwrap()
            .len(),
        1
    );

    assert_eq!(store.unregister(registration).unwrap(), Unregistered::Removed);
    assert_eq!(store.unregister(registration).unwrap(), Unregistered::NotFound);
    assert_eq!(store.registrations().unwrap(), []);
    assert_eq!(store.script_resources(version).unwrap(), []);
    assert_eq!(store.sync_registrations().unwrap(), []);

    // The event of the old registration is still running; it must not end the new one's.
    let again = activated(&store, "https://app.test");
    assert_ne!(again, registration);
    store.sync_register(again, "outbox", &policy, 0).unwrap();
    let outcome = kittiwake_store::Outcome::Fulfilled;
    let settled = store.sync_settle(registration, "outbox", outcome, &policy, 0).unwrap();
    assert_eq!(settled, Settled::Gone);
    assert_eq!(store.sync_tags(again).unwrap(), ["outbox"]);
}

#[test]
#[should_panic(expected = "holds the main script https://app.test/sw.js")]
fn a_script_resource_map_without_the_main_script_is_a_bug() {
    let mut broken = worker("https://app.test");
    broken.resources.remove(0);
    let _ = Store::in_memory().unwrap().install(&broken);
}

#[test]
fn what_a_registration_is_set_to_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut routed = worker("https://app.test");
    routed.router_rules = r#"[{"source":"network"}]"#.into();
    let (registration, _) = store.install(&routed).unwrap();
    let fresh = store.registration(registration).unwrap().unwrap();
    assert_eq!(fresh.update_checked_ms, None);
    assert_eq!(fresh.preload, NavigationPreload { enabled: false, header: "true".into() });

    let preload = NavigationPreload { enabled: true, header: "v\u{e9}rsion 2".into() };
    store.set_navigation_preload(registration, &preload).unwrap();
    store.set_update_via_cache(registration, UpdateViaCache::None).unwrap();
    store.update_checked(registration, 1_700_000_000_000).unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    let found = store.registration(registration).unwrap().unwrap();
    assert_eq!(found.preload, preload);
    assert_eq!(found.update_via_cache, UpdateViaCache::None);
    assert_eq!(found.update_checked_ms, Some(1_700_000_000_000));
    assert_eq!(found.waiting.unwrap().router_rules, routed.router_rules);
}
