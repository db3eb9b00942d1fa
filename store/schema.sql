-- Schema version 1. What the tables mean, and what a committed row promises: lib.rs.
-- Each CHECK repeats an invariant that Rust already keeps; no behaviour is decided here.

-- Service worker registrations: https://w3c.github.io/ServiceWorker/#dfn-scope-to-registration-map
-- AUTOINCREMENT, because an identifier that came back after unregister() would let a late settle
-- of the old registration touch the new one.
CREATE TABLE registrations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    scope TEXT NOT NULL UNIQUE,
    update_via_cache TEXT NOT NULL CHECK (update_via_cache IN ('imports', 'all', 'none'))
) STRICT;

-- Service workers that outlive the process. `installing` and `redundant` ones never reach the disk.
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    script_url TEXT NOT NULL,
    script_type TEXT NOT NULL CHECK (script_type IN ('classic', 'module')),
    state TEXT NOT NULL CHECK (state IN ('installed', 'activating', 'activated'))
) STRICT;

-- At most one waiting and one active worker per registration. One index over the expression, not
-- two partial ones, so that look-ups by registration and the cascade use it too.
CREATE UNIQUE INDEX versions_one_waiting_one_active
    ON versions (registration_id, (state = 'installed'));

-- Script resource maps: https://w3c.github.io/ServiceWorker/#dfn-script-resource-map
CREATE TABLE script_resources (
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (version_id, url)
) STRICT;

-- Background Sync: https://wicg.github.io/background-sync/spec/#sync-registration
CREATE TABLE sync_registrations (
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'waiting', 'firing', 'reregistered-while-firing')),
    attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    due_at_ms INTEGER,
    interruptions INTEGER NOT NULL CHECK (interruptions BETWEEN 0 AND 4294967295),
    PRIMARY KEY (registration_id, tag),
    -- Only back-off has a time to wait for, and only a settled failure begins one.
    CHECK ((state = 'waiting') = (due_at_ms IS NOT NULL)),
    CHECK (state <> 'waiting' OR (attempts > 0 AND interruptions = 0))
) STRICT, WITHOUT ROWID;

-- What the scheduler asks at every wake, in the order in which it is answered.
CREATE INDEX sync_registrations_due
    ON sync_registrations (due_at_ms) WHERE state = 'waiting';
CREATE INDEX sync_registrations_pending
    ON sync_registrations (registration_id, tag) WHERE state = 'pending';

-- Periodic Background Sync: https://wicg.github.io/periodic-background-sync/. Tags of its own; no
-- state `waiting`, because every pending registration waits until it is due.
CREATE TABLE periodic_sync_registrations (
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    -- A copy of the registration's, which never changes: periods are kept apart per origin.
    origin TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'firing', 'reregistered-while-firing')),
    min_interval_ms INTEGER NOT NULL CHECK (min_interval_ms >= 0),
    attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    due_at_ms INTEGER NOT NULL,
    interruptions INTEGER NOT NULL CHECK (interruptions BETWEEN 0 AND 4294967295),
    PRIMARY KEY (registration_id, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX periodic_sync_registrations_due
    ON periodic_sync_registrations (due_at_ms, registration_id, tag) WHERE state = 'pending';
CREATE INDEX periodic_sync_registrations_of_origin
    ON periodic_sync_registrations (origin, due_at_ms);
