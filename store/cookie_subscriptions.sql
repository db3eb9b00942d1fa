-- Version 7: https://wicg.github.io/cookie-store/#cookie-change-subscription-list
CREATE TABLE cookie_subscriptions (
    registration_id INTEGER NOT NULL REFERENCES registrations (id) ON DELETE CASCADE,
    -- In the order in which they were made.
    position INTEGER NOT NULL,
    -- NULL: every name.
    name TEXT,
    url TEXT NOT NULL,
    PRIMARY KEY (registration_id, position)
) STRICT, WITHOUT ROWID;
