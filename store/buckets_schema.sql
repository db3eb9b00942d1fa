-- Version 4: storage buckets, https://wicg.github.io/storage-buckets/#storage-bucket
-- What a bucket holds is kept under a storage key of its own: its origin, `^`, and this number.
CREATE TABLE storage_buckets (
    -- Never used again: a script may hold a bucket that was deleted.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    name TEXT NOT NULL,
    persisted INTEGER NOT NULL CHECK (persisted IN (0, 1)),
    quota_bytes INTEGER CHECK (quota_bytes > 0),
    expires_at_ms INTEGER,
    UNIQUE (origin, name)
) STRICT;
