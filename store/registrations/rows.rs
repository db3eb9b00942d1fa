//! Registrations, their workers and scripts as rows.
//!
//! Invariant: a row that is read equals the row that was written; what may follow on what is
//! decided by the callers.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::{
    InstalledWorker, NavigationPreload, Registration, RegistrationId, ScriptResource, Version,
    VersionId, VersionState,
};
use crate::StoreError;
use crate::error::Failure;

pub(super) fn save_registration(
    connection: &Connection,
    worker: &InstalledWorker,
) -> Result<RegistrationId, Failure> {
    // The origin is part of the scope, so it cannot differ from the one of a known scope.
    let mut statement = connection.prepare_cached(
        "INSERT INTO registrations (origin, scope, update_via_cache, origin_id) \
         VALUES (?1, ?2, ?3, COALESCE( \
             (SELECT origin_id FROM registrations WHERE origin = ?1 LIMIT 1), \
             (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'registrations'), 1)) \
         ON CONFLICT (scope) DO UPDATE SET update_via_cache = excluded.update_via_cache \
         RETURNING id",
    )?;
    let values = (&worker.origin, &worker.scope, worker.update_via_cache);
    Ok(statement.query_row(values, |row| row.get(0))?)
}

pub(super) fn insert_waiting(
    connection: &Connection,
    registration: RegistrationId,
    worker: &InstalledWorker,
) -> Result<VersionId, Failure> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO versions (registration_id, script_url, script_type, state, router_rules) \
         VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
    )?;
    let (script_url, state) = (&worker.script_url, VersionState::Installed);
    let values = (registration, script_url, worker.script_type, state, &worker.router_rules);
    let version: VersionId = statement.query_row(values, |row| row.get(0))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO script_resources (version_id, url, content_type, body) \
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for script in &worker.resources {
        statement.execute((version, &script.url, &script.content_type, &script.body))?;
    }
    Ok(version)
}

pub(super) fn require_state(
    connection: &Connection,
    version: VersionId,
    expected: VersionState,
) -> Result<(), Failure> {
    let found = load_state(connection, version)?;
    if found == Some(expected) {
        return Ok(());
    }
    Err(StoreError::VersionState { version, expected, found }.into())
}

pub(super) fn load_state(
    connection: &Connection,
    version: VersionId,
) -> Result<Option<VersionState>, Failure> {
    Ok(connection
        .prepare_cached("SELECT state FROM versions WHERE id = ?1")?
        .query_row([version], |row| row.get(0))
        .optional()?)
}

pub(super) fn set_state(
    connection: &Connection,
    version: VersionId,
    state: VersionState,
) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE versions SET state = ?2 WHERE id = ?1")?
        .execute((version, state))?;
    Ok(())
}

/// `filter` continues the statement; it is never made from data.
pub(super) fn select_registrations(
    connection: &Connection,
    filter: &str,
    parameters: impl Params,
) -> Result<Vec<Registration>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT registrations.id, origin, scope, update_via_cache, \
         active.id, active.script_url, active.script_type, active.state, active.router_rules, \
         waiting.id, waiting.script_url, waiting.script_type, waiting.state, \
         waiting.router_rules, update_checked_ms, preload_enabled, preload_header \
         FROM registrations \
         LEFT JOIN versions active ON active.registration_id = registrations.id \
         AND (active.state = 'installed') = 0 \
         LEFT JOIN versions waiting ON waiting.registration_id = registrations.id \
         AND (waiting.state = 'installed') = 1 {filter}"
    ))?;
    let rows = statement.query_map(parameters, |row| {
        Ok(Registration {
            id: row.get(0)?,
            origin: row.get(1)?,
            scope: row.get(2)?,
            update_via_cache: row.get(3)?,
            active: version_from(row, 4)?,
            waiting: version_from(row, 9)?,
            update_checked_ms: row.get(14)?,
            preload: NavigationPreload { enabled: row.get(15)?, header: row.get(16)? },
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn version_from(
    row: &Row<'_>,
    first_column: usize,
) -> rusqlite::Result<Option<Version>> {
    let Some(id) = row.get(first_column)? else {
        return Ok(None);
    };
    Ok(Some(Version {
        id,
        script_url: row.get(first_column + 1)?,
        script_type: row.get(first_column + 2)?,
        state: row.get(first_column + 3)?,
        router_rules: row.get(first_column + 4)?,
    }))
}

pub(super) fn script_resource_from(row: &Row<'_>) -> rusqlite::Result<ScriptResource> {
    Ok(ScriptResource { url: row.get(0)?, content_type: row.get(1)?, body: row.get(2)? })
}
