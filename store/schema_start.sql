-- Version 5: what a start asks for once, so that it costs what it finds and not what is stored.

-- Workers that wait, or whose activate event a crash cut short.
CREATE INDEX versions_to_activate ON versions (registration_id) WHERE state <> 'activated';

-- Events that the last process left firing.
CREATE INDEX sync_registrations_firing ON sync_registrations (registration_id, tag)
    WHERE state IN ('firing', 'reregistered-while-firing');
CREATE INDEX periodic_sync_registrations_firing
    ON periodic_sync_registrations (registration_id, tag)
    WHERE state IN ('firing', 'reregistered-while-firing');
