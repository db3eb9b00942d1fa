-- One database of IndexedDB is one file: https://w3c.github.io/IndexedDB/#database-construct
-- Names are UTF-16 (big endian), because they may have lone surrogates and are ordered by unit.
-- Keys are bytes whose order is theirs (key.rs).

-- One row.
CREATE TABLE info (
    name BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 0),
    -- Identifiers are never given twice.
    next_object_store INTEGER NOT NULL,
    next_index INTEGER NOT NULL
) STRICT;

CREATE TABLE object_stores (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    -- As JSON: null, a string, or an array of strings.
    key_path TEXT NOT NULL,
    -- The current number of the key generator; NULL if there is none.
    next_key INTEGER CHECK (next_key >= 1)
) STRICT;

CREATE TABLE indexes (
    id INTEGER PRIMARY KEY,
    object_store INTEGER NOT NULL REFERENCES object_stores ON DELETE CASCADE,
    name BLOB NOT NULL,
    key_path TEXT NOT NULL,
    is_unique INTEGER NOT NULL CHECK (is_unique IN (0, 1)),
    is_multi_entry INTEGER NOT NULL CHECK (is_multi_entry IN (0, 1)),
    UNIQUE (object_store, name)
) STRICT;

CREATE TABLE records (
    object_store INTEGER NOT NULL,
    key BLOB NOT NULL,
    -- What V8's serialiser wrote; its header has the version of the format.
    value BLOB NOT NULL,
    -- Where index_entries has this record (entries.rs); NULL if nowhere.
    entries BLOB,
    -- Whether its value has parts in blob_parts.
    has_blobs INTEGER NOT NULL CHECK (has_blobs IN (0, 1)),
    -- CRC-32 of key and value, because SQLite notices only damage to its own structures; NULL if the
    -- record was written before there was one.
    checksum INTEGER,
    PRIMARY KEY (object_store, key)
) STRICT, WITHOUT ROWID;

-- The contents of the Blob and File objects of a record's value.
CREATE TABLE blob_parts (
    object_store INTEGER NOT NULL,
    key BLOB NOT NULL,
    -- By which the value names it.
    part TEXT NOT NULL,
    -- Nothing if they have a file.
    bytes BLOB NOT NULL,
    -- The name of the file (blobs.rs), and how many bytes it has; NULL if there is none.
    file INTEGER,
    size INTEGER
) STRICT;

CREATE INDEX blob_parts_of_records ON blob_parts (object_store, key);
CREATE INDEX blob_files ON blob_parts (file, size) WHERE file IS NOT NULL;

CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    -- The index's key, then the record's: entries are in the order of both.
    entry BLOB NOT NULL,
    -- Where the record's key begins.
    key_length INTEGER NOT NULL,
    PRIMARY KEY (index_id, entry)
) STRICT, WITHOUT ROWID;
