//! Background fetches on disk: begun, their requests completed one by one, settled, and ended with
//! their event. <https://wicg.github.io/background-fetch/>
//!
//! Bodies are kept as the Cache API's are, in a cache that no script can name.
//! Invariant: a record is completed once; what a fetch comes to is decided by [`outcome`] alone,
//! also after a crash.

use rusqlite::{Connection, OptionalExtension, params};

use crate::caches::{ROW_BYTES, entry_size, insert_entry, require_quota, response_of};
use crate::columns::{row_id, text_enum};
use crate::error::Failure;
use crate::{
    CacheEntry, CacheId, EntryBody, EntryRequest, EntryResponse, RegistrationId, Released,
    ResponseType, Store, StoreError,
};

row_id! {
    /// One background fetch. Never used again, even after it is gone.
    BackgroundFetchId
}

text_enum! {
    /// Where a background fetch stands.
    BackgroundFetchState {
        /// Its requests are made.
        Active = "active",
        /// Every response came, and was good.
        Success = "success",
        /// A script, or a person, ended it.
        Aborted = "aborted",
        /// A response has a status that is not ok.
        BadStatus = "bad-status",
        /// A request got no response.
        FetchError = "fetch-error",
        /// There was no room for a response.
        QuotaExceeded = "quota-exceeded",
        /// The responses were longer than the script had said.
        DownloadTotalExceeded = "download-total-exceeded",
    }
}

text_enum! {
    /// How a request of a background fetch ended:
    /// <https://wicg.github.io/background-fetch/#background-fetch-response-result>
    RecordResult {
        /// The whole response came, and was good.
        Success = "success",
        /// The whole response came, with a status that is not ok.
        BadStatus = "bad-status",
        /// There is no response.
        FetchError = "fetch-error",
        /// There was no room for it.
        QuotaExceeded = "quota-exceeded",
        /// All responses were longer than the script had said.
        DownloadTotalExceeded = "download-total-exceeded",
    }
}

/// A background fetch that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBackgroundFetch {
    /// Whose it is.
    pub registration: RegistrationId,
    /// The script's id. None that is active and of the same registration has it.
    pub name: String,
    /// What people would see.
    pub title: String,
    /// How many bytes of responses the script expects; 0 if it does not say.
    pub download_total: u64,
    /// How many bytes the requests' bodies have.
    pub upload_total: u64,
    /// Its requests, in their order.
    pub requests: Vec<NewRecord>,
}

/// A request of a [`NewBackgroundFetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// All of it but its body, as JSON.
    pub request: String,
    /// Its body; a file is on disk already.
    pub upload: EntryBody,
}

/// A background fetch that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundFetch {
    /// Names it.
    pub id: BackgroundFetchId,
    /// Whose it is.
    pub registration: RegistrationId,
    /// The script's id.
    pub name: String,
    /// What people would see.
    pub title: String,
    /// As in [`NewBackgroundFetch`].
    pub download_total: u64,
    /// As in [`NewBackgroundFetch`].
    pub upload_total: u64,
    /// Where it stands.
    pub state: BackgroundFetchState,
    /// How often the process died in its event.
    pub interruptions: u32,
    /// Its requests, in their order.
    pub records: Vec<FetchRecord>,
}

/// A request of a [`BackgroundFetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRecord {
    /// All of it but its body, as JSON.
    pub request: String,
    /// How many bytes its body has.
    pub upload_bytes: u64,
    /// How it ended; `None` before that.
    pub result: Option<RecordResult>,
    /// The header list of its response.
    pub response_headers: Vec<(String, String)>,
    /// How many bytes its response's body has.
    pub response_bytes: u64,
}

/// What becomes of a fetch whose requests ended so, in their order; `None` while one has not. What
/// ends all of them at once comes first. Pure and total.
/// <https://wicg.github.io/background-fetch/#perform-a-background-fetch>
pub fn outcome(results: &[Option<RecordResult>]) -> Option<BackgroundFetchState> {
    let failed = |result: RecordResult| results.contains(&Some(result));
    if failed(RecordResult::DownloadTotalExceeded) {
        return Some(BackgroundFetchState::DownloadTotalExceeded);
    }
    if failed(RecordResult::QuotaExceeded) {
        return Some(BackgroundFetchState::QuotaExceeded);
    }
    let mut outcome = BackgroundFetchState::Success;
    for result in results {
        match ((*result)?, outcome) {
            (RecordResult::FetchError, BackgroundFetchState::Success) => {
                outcome = BackgroundFetchState::FetchError;
            }
            (RecordResult::BadStatus, BackgroundFetchState::Success) => {
                outcome = BackgroundFetchState::BadStatus;
            }
            _ => {}
        }
    }
    Some(outcome)
}

impl Store {
    /// Begins a background fetch: when this returns it is on disk, with its requests' bodies.
    ///
    /// # Errors
    ///
    /// [`StoreError::QuotaExceeded`] if the requests have no room; the failures of the database.
    pub fn background_fetch_begin(
        &self,
        fetch: &NewBackgroundFetch,
        quota_bytes: u64,
    ) -> Result<BackgroundFetchId, StoreError> {
        self.write(|transaction| {
            let sql = "INSERT INTO background_fetches
                           (registration_id, name, title, download_total, upload_total, state)
                       VALUES (?1, ?2, ?3, ?4, ?5, 'active')";
            transaction.prepare_cached(sql)?.execute(params![
                fetch.registration,
                fetch.name,
                fetch.title,
                fetch.download_total.cast_signed(),
                fetch.upload_total.cast_signed(),
            ])?;
            let id = BackgroundFetchId(transaction.last_insert_rowid());
            let cache = make_cache(transaction, id, fetch, quota_bytes)?;
            let sql = "INSERT INTO background_fetch_records
                           (fetch_id, position, request, upload_entry) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = transaction.prepare_cached(sql)?;
            for (position, NewRecord { request, upload }) in fetch.requests.iter().enumerate() {
                let upload = match upload {
                    EntryBody::Null => None,
                    body => Some(insert_entry(transaction, cache, &upload_entry(body.clone()))?),
                };
                insert.execute(params![id, position as i64, request, upload])?;
            }
            Ok(id)
        })
    }

    /// Every background fetch, in the order in which they began.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetches(&self) -> Result<Vec<BackgroundFetch>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, registration_id, name, title, download_total, upload_total,
                              state, interruptions
                       FROM background_fetches ORDER BY id";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(BackgroundFetch {
                    id: row.get(0)?,
                    registration: row.get(1)?,
                    name: row.get(2)?,
                    title: row.get(3)?,
                    download_total: row.get::<_, i64>(4)?.cast_unsigned(),
                    upload_total: row.get::<_, i64>(5)?.cast_unsigned(),
                    state: row.get(6)?,
                    interruptions: row.get(7)?,
                    records: vec![],
                })
            })?;
            let mut fetches = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for fetch in &mut fetches {
                fetch.records = records(connection, fetch.id)?;
            }
            Ok(fetches)
        })
    }

    /// Keeps how a request ended, with its response if that may be seen: a body in a file is on
    /// disk already.
    ///
    /// # Errors
    ///
    /// [`StoreError::QuotaExceeded`]; then nothing was written. The failures of the database.
    pub fn background_fetch_complete(
        &self,
        fetch: BackgroundFetchId,
        position: usize,
        result: RecordResult,
        response: Option<CacheEntry>,
        quota_bytes: u64,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let entry = match response {
                None => None,
                Some(response) => {
                    let (cache, origin) = cache_of(transaction, fetch)?;
                    let size = entry_size(&response);
                    require_quota(transaction, &origin, size, quota_bytes)?;
                    Some(insert_entry(transaction, cache, &response)?)
                }
            };
            let sql = "UPDATE background_fetch_records SET result = ?3, response_entry = ?4
                       WHERE fetch_id = ?1 AND position = ?2";
            transaction.prepare_cached(sql)?.execute((fetch, position as i64, result, entry))?;
            Ok(())
        })
    }

    /// Its transfers are over; whether it was active until now. Only then its event follows.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_settle(
        &self,
        fetch: BackgroundFetchId,
        state: BackgroundFetchState,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE background_fetches SET state = ?2 WHERE id = ?1 AND state = 'active'";
            Ok(transaction.prepare_cached(sql)?.execute((fetch, state))? > 0)
        })
    }

    /// Its event begins. If the process dies before [`Store::background_fetch_end`], it has been
    /// interrupted once more.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_firing(&self, fetch: BackgroundFetchId) -> Result<(), StoreError> {
        self.count_interruptions(&[fetch], 1)
    }

    /// A graceful stop cuts these events off, which is no interruption.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_hand_back(
        &self,
        fetches: &[BackgroundFetchId],
    ) -> Result<(), StoreError> {
        if fetches.is_empty() { Ok(()) } else { self.count_interruptions(fetches, -1) }
    }

    fn count_interruptions(
        &self,
        fetches: &[BackgroundFetchId],
        more: i64,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE background_fetches SET interruptions = interruptions + ?2
                       WHERE id = ?1";
            let mut update = transaction.prepare_cached(sql)?;
            for fetch in fetches {
                update.execute((fetch, more))?;
            }
            Ok(())
        })
    }

    /// Its event is over: it goes, with all that it kept. The bodies are the caller's to remove.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_end(&self, fetch: BackgroundFetchId) -> Result<Released, StoreError> {
        self.write(|transaction| {
            let released = bodies(transaction, "background_fetches.id = ?1", fetch.0)?;
            let sql = "DELETE FROM background_fetches WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([fetch])?;
            Ok(released)
        })
    }

    /// The files that a registration's background fetches keep. Whoever unregisters it removes them
    /// afterwards.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_bodies(
        &self,
        registration: RegistrationId,
    ) -> Result<Released, StoreError> {
        self.read(|connection| bodies(connection, "registration_id = ?1", registration.0))
    }

    /// The body of a request.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_upload(
        &self,
        fetch: BackgroundFetchId,
        position: usize,
    ) -> Result<EntryBody, StoreError> {
        let entry = self.entry_of(fetch, position, "upload_entry")?;
        Ok(entry.map_or(EntryBody::Null, |entry| entry.body))
    }

    /// The response of a request, if it came and may be seen.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn background_fetch_response(
        &self,
        fetch: BackgroundFetchId,
        position: usize,
    ) -> Result<Option<EntryResponse>, StoreError> {
        self.entry_of(fetch, position, "response_entry")
    }

    fn entry_of(
        &self,
        fetch: BackgroundFetchId,
        position: usize,
        column: &str,
    ) -> Result<Option<EntryResponse>, StoreError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {column} FROM background_fetch_records
                 WHERE fetch_id = ?1 AND position = ?2 AND {column} IS NOT NULL"
            );
            let mut select = connection.prepare_cached(&sql)?;
            let entry = select.query_row((fetch, position as i64), |row| row.get(0)).optional()?;
            entry.map_or(Ok(None), |entry| response_of(connection, entry))
        })
    }
}

/// The cache that has its bodies; the texts of its requests count too.
fn make_cache(
    transaction: &Connection,
    id: BackgroundFetchId,
    fetch: &NewBackgroundFetch,
    quota_bytes: u64,
) -> Result<CacheId, Failure> {
    let sql = "SELECT origin FROM registrations WHERE id = ?1";
    let mut select = transaction.prepare_cached(sql)?;
    let origin: String = select.query_row([fetch.registration], |row| row.get(0))?;
    let texts = fetch.requests.iter().map(|each| ROW_BYTES + each.request.len() as u64);
    let size = ROW_BYTES + (fetch.name.len() + fetch.title.len()) as u64 + texts.sum::<u64>();
    let uploads = fetch.requests.iter().filter_map(|each| match &each.upload {
        EntryBody::Null => None,
        body => Some(entry_size(&upload_entry(body.clone()))),
    });
    require_quota(transaction, &origin, size + uploads.sum::<u64>(), quota_bytes)?;
    let sql = "INSERT INTO caches (origin, size_bytes, background_fetch_id) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute((origin, size.cast_signed(), id))?;
    Ok(CacheId(transaction.last_insert_rowid()))
}

fn cache_of(
    connection: &Connection,
    fetch: BackgroundFetchId,
) -> Result<(CacheId, String), Failure> {
    let sql = "SELECT id, origin FROM caches WHERE background_fetch_id = ?1";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_row([fetch], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// A request's body in the place of a response's.
fn upload_entry(body: EntryBody) -> CacheEntry {
    CacheEntry {
        request: EntryRequest { url: String::new(), headers: vec![] },
        vary: vec![],
        response: EntryResponse {
            response_type: ResponseType::Default,
            url_list: vec![],
            status: 0,
            status_text: String::new(),
            headers: vec![],
            body,
        },
    }
}

fn records(connection: &Connection, fetch: BackgroundFetchId) -> Result<Vec<FetchRecord>, Failure> {
    let sql = "SELECT records.request, records.result, uploads.body_size,
                      responses.response_headers, responses.body_size
               FROM background_fetch_records AS records
                   LEFT JOIN cache_entries AS uploads ON uploads.id = upload_entry
                   LEFT JOIN cache_entries AS responses ON responses.id = response_entry
               WHERE fetch_id = ?1 ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([fetch], |row| {
        let bytes = |size: Option<i64>| size.unwrap_or(0).max(0).cast_unsigned();
        let headers: Option<String> = row.get(3)?;
        Ok(FetchRecord {
            request: row.get(0)?,
            result: row.get(1)?,
            upload_bytes: bytes(row.get(2)?),
            response_headers: crate::caches::to_headers(&headers.unwrap_or_default()),
            response_bytes: bytes(row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn bodies(connection: &Connection, which: &str, id: i64) -> Result<Released, Failure> {
    let sql = format!(
        "SELECT body_file FROM background_fetches
             JOIN caches ON background_fetch_id = background_fetches.id
             JOIN cache_entries ON cache_id = caches.id
         WHERE {which} AND body_file IS NOT NULL"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
