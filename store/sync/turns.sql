-- Origins take turns when their syncs fire, however many registrations each has.

-- One number for all registrations of an origin: the identifier of the first that it had. It stays
-- when that one goes, so that an origin cannot become several.
ALTER TABLE registrations ADD COLUMN origin_id INTEGER NOT NULL DEFAULT 0;
CREATE INDEX registrations_of_origin ON registrations (origin);
UPDATE registrations SET origin_id =
    (SELECT min(id) FROM registrations AS other WHERE other.origin = registrations.origin);

-- A copy, for the index.
ALTER TABLE sync_registrations ADD COLUMN origin_id INTEGER NOT NULL DEFAULT 0;
UPDATE sync_registrations SET origin_id =
    (SELECT origin_id FROM registrations WHERE id = sync_registrations.registration_id);

DROP INDEX sync_registrations_pending;
CREATE INDEX sync_registrations_pending
    ON sync_registrations (origin_id, registration_id, tag) WHERE state = 'pending';
