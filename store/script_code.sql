-- What V8 made of a worker's scripts when it compiled them. It can be made again at any time.
CREATE TABLE script_code (
    -- In the order in which they were kept: the oldest make room. Numbers may come back.
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL,
    url TEXT NOT NULL,
    code BLOB NOT NULL,
    -- Of `code`: V8 believes what it is given.
    checksum INTEGER NOT NULL,
    -- The length of `code`, so that nobody reads code to know how much there is.
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    UNIQUE (version_id, url),
    FOREIGN KEY (version_id, url) REFERENCES script_resources (version_id, url) ON DELETE CASCADE
) STRICT;

CREATE INDEX script_code_by_age ON script_code (id, bytes);
