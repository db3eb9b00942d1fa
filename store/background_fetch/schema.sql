-- Version 9: background fetches: https://wicg.github.io/background-fetch/#background-fetch-concept

CREATE TABLE background_fetches (
    -- In the order in which they began. Never used again: scripts hold on to what is gone.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    -- The script's own id.
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    -- Bits of an unsigned number; 0: no limit.
    download_total INTEGER NOT NULL,
    upload_total INTEGER NOT NULL CHECK (upload_total >= 0),
    -- While it is active its transfers go on; afterwards its event is to be dispatched. When that
    -- is over, the row goes.
    state TEXT NOT NULL CHECK (
        state IN (
            'active', 'success', 'aborted', 'bad-status', 'fetch-error', 'quota-exceeded',
            'download-total-exceeded'
        )
    ),
    -- How often its event began and has not ended since.
    interruptions INTEGER NOT NULL DEFAULT 0 CHECK (interruptions >= 0),
    CHECK (state <> 'active' OR interruptions = 0)
) STRICT;

-- https://wicg.github.io/background-fetch/#service-worker-registration-active-background-fetches
CREATE UNIQUE INDEX background_fetches_active ON background_fetches (registration_id, name)
    WHERE state = 'active';

CREATE INDEX background_fetches_by_registration ON background_fetches (registration_id);

-- What a background fetch keeps is a cache without a name, which counts against the quota.
ALTER TABLE caches ADD COLUMN background_fetch_id INTEGER
    REFERENCES background_fetches (id) ON DELETE CASCADE;

CREATE INDEX caches_by_background_fetch ON caches (background_fetch_id)
    WHERE background_fetch_id IS NOT NULL;

CREATE TABLE background_fetch_records (
    fetch_id INTEGER NOT NULL REFERENCES background_fetches (id) ON DELETE CASCADE,
    -- Counted from 0.
    position INTEGER NOT NULL CHECK (position >= 0),
    -- All of the request but its body, as JSON in the words of the Fetch Standard.
    request TEXT NOT NULL,
    -- NULL until its transfer has ended.
    result TEXT CHECK (
        result IN (
            'success', 'bad-status', 'fetch-error', 'quota-exceeded', 'download-total-exceeded'
        )
    ),
    -- The entries of that cache that have the request's body and the response. No references: the
    -- three go together, and nothing that is put into a cache should look here.
    upload_entry INTEGER,
    response_entry INTEGER,
    CHECK (result IN ('success', 'bad-status') OR response_entry IS NULL),
    PRIMARY KEY (fetch_id, position)
) STRICT, WITHOUT ROWID;
