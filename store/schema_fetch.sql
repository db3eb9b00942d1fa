-- Version 2: what fetch() remembers. A partition is the origin whose workers and pages asked; no
-- partition sees another's.

-- Cookies that outlive the process: https://httpwg.org/specs/rfc6265.html#storage-model
CREATE TABLE cookies (
    partition TEXT NOT NULL,
    domain TEXT NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The header and the URL that set it, from which the cookie is read again.
    set_cookie TEXT NOT NULL,
    url TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition, domain, path, name)
) STRICT, WITHOUT ROWID;

-- The HTTP cache: https://httpwg.org/specs/rfc9111.html
CREATE TABLE http_cache (
    id INTEGER PRIMARY KEY,
    partition TEXT NOT NULL,
    url TEXT NOT NULL,
    -- What decides about its reuse, and the response's head, as the runtime wrote them.
    policy TEXT NOT NULL,
    head TEXT NOT NULL,
    body BLOB NOT NULL,
    -- Of the whole row, so that nobody reads bodies to know how much there is.
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    used_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX http_cache_by_url ON http_cache (partition, url);
CREATE INDEX http_cache_by_use ON http_cache (used_at_ms, bytes);
