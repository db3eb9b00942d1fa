-- Schema version 5: what a registration and its workers keep besides their scripts.

-- When the script was last compared with its server's, in Unix epoch milliseconds:
-- https://w3c.github.io/ServiceWorker/#dfn-last-update-check-time
ALTER TABLE registrations ADD COLUMN update_checked_ms INTEGER;

-- https://w3c.github.io/ServiceWorker/#navigation-preload-manager
ALTER TABLE registrations ADD COLUMN preload_enabled INTEGER NOT NULL DEFAULT 0
    CHECK (preload_enabled IN (0, 1));
ALTER TABLE registrations ADD COLUMN preload_header TEXT NOT NULL DEFAULT 'true';

-- The list of router rules as JSON, in the words of the specification:
-- https://w3c.github.io/ServiceWorker/#dfn-service-worker-list-of-router-rules
ALTER TABLE versions ADD COLUMN router_rules TEXT NOT NULL DEFAULT '[]';
