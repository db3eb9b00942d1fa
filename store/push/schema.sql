-- Version 7: push subscriptions, one for a registration: https://w3c.github.io/push-api/#dfn-push-subscription
CREATE TABLE push_subscriptions (
    registration_id INTEGER PRIMARY KEY REFERENCES registrations (id) ON DELETE CASCADE,
    -- The part of the endpoint that names it, which only its owner knows.
    token TEXT NOT NULL UNIQUE,
    application_server_key BLOB NOT NULL,
    private_key BLOB NOT NULL,
    auth BLOB NOT NULL
) STRICT;
