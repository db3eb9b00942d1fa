-- How many shards the state folder is divided over; without a row nobody has said yet. A folder
-- that was used before there were shards is one.
CREATE TABLE shards (count INTEGER NOT NULL CHECK (count >= 1)) STRICT;

INSERT INTO shards SELECT 1 WHERE
    EXISTS (SELECT 1 FROM registrations) OR EXISTS (SELECT 1 FROM caches)
    OR EXISTS (SELECT 1 FROM storage_buckets) OR EXISTS (SELECT 1 FROM cookies);
