-- The Cache API: https://w3c.github.io/ServiceWorker/#cache-objects

CREATE TABLE caches (
    -- In the order of creation. Never used again: scripts may hold a cache that was deleted.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    -- UTF-16, little-endian, because a name is any DOMString. NULL: deleted while it was open.
    name BLOB,
    -- What the cache and its entries count against the origin's quota.
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    UNIQUE (origin, name)
) STRICT;

CREATE TABLE cache_entries (
    -- In the order in which they were put.
    id INTEGER PRIMARY KEY,
    cache_id INTEGER NOT NULL REFERENCES caches (id) ON DELETE CASCADE,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    -- The request's URL without its fragment.
    key_url TEXT NOT NULL,
    request_url TEXT NOT NULL,
    request_headers TEXT NOT NULL,
    -- The names that the response's Vary header has; one a line. NULL: the headers do not matter.
    vary TEXT,
    response_type TEXT NOT NULL CHECK (
        response_type IN ('basic', 'cors', 'default', 'error', 'opaque', 'opaqueredirect')
    ),
    url_list TEXT NOT NULL,
    status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 999),
    status_text TEXT NOT NULL,
    response_headers TEXT NOT NULL,
    body_size INTEGER CHECK (body_size >= 0),
    -- A body is here or in a file of the folder `caches`, which has this number for a name.
    body_file INTEGER UNIQUE,
    body BLOB,
    CHECK ((body IS NULL) OR (body_file IS NULL)),
    CHECK ((body_size IS NULL) = (body IS NULL AND body_file IS NULL))
) STRICT;

CREATE INDEX cache_entries_by_url ON cache_entries (cache_id, key_url);
