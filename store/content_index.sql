-- Version 10: the content index: https://wicg.github.io/content-index/spec/#content-index-entry
CREATE TABLE content_index (
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    -- The script's own id.
    id TEXT NOT NULL,
    -- A ContentDescription as JSON.
    description TEXT NOT NULL,
    PRIMARY KEY (registration_id, id)
) STRICT, WITHOUT ROWID;
