//! Entries as rows: their columns, and the queries that find them.
//! Invariant: an entry that is read equals the entry that was put.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Statement};

use super::entry::{key_url, searchless_url};
use super::{
    BodyId, CacheEntry, CacheId, CacheQuery, EntryBody, EntryRequest, EntryResponse, HeaderList,
    ROW_BYTES, Released,
};
use crate::error::Failure;

/// Which rows may match: with these, [`CacheQuery::accepts`] decides.
const OF_CACHE: &str = "cache_id = ?1";
const OF_URL: &str = "cache_id = ?1 AND key_url = ?2";
/// `@` is the character after `?`.
const OF_SEARCHLESS_URL: &str = "cache_id = ?1 AND (key_url = ?2 \
     OR (key_url >= ?2 || '?' AND key_url < ?2 || '@'))";

const RESPONSE: &str =
    "response_type, url_list, status, status_text, response_headers, body_size, body_file, body";
const REQUEST: &str = "request_url, request_headers";

/// Matching rows, in the order in which they were put.
pub(super) fn select(
    connection: &Connection,
    cache: CacheId,
    query: Option<&CacheQuery>,
    limit: usize,
) -> Result<Vec<i64>, Failure> {
    read(connection, "id", cache, query, limit, |row| row.get(2))
}

pub(super) fn responses(
    connection: &Connection,
    cache: CacheId,
    query: Option<&CacheQuery>,
    limit: usize,
) -> Result<Vec<EntryResponse>, Failure> {
    read(connection, RESPONSE, cache, query, limit, |row| response_from(row, 2))
}

/// The response of one entry.
pub(crate) fn response_of(
    connection: &Connection,
    entry: i64,
) -> Result<Option<EntryResponse>, Failure> {
    let sql = format!("SELECT {RESPONSE} FROM cache_entries WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([entry], |row| response_from(row, 0)).optional()?)
}

/// The columns of [`RESPONSE`], from the column `first` on.
fn response_from(row: &Row<'_>, first: usize) -> rusqlite::Result<EntryResponse> {
    let (size, file) = (first + 5, first + 6);
    Ok(EntryResponse {
        response_type: row.get(first)?,
        url_list: row.get_ref(first + 1)?.as_str()?.lines().map(str::to_owned).collect(),
        status: row.get(first + 2)?,
        status_text: row.get(first + 3)?,
        headers: to_headers(row.get_ref(first + 4)?.as_str()?),
        body: match (row.get::<_, Option<i64>>(size)?, row.get::<_, Option<BodyId>>(file)?) {
            (None, _) => EntryBody::Null,
            (Some(bytes), Some(id)) => EntryBody::File { id, size: unsigned(size, bytes)? },
            (Some(_), None) => EntryBody::Inline(row.get(first + 7)?),
        },
    })
}

pub(super) fn requests(
    connection: &Connection,
    cache: CacheId,
    query: Option<&CacheQuery>,
) -> Result<Vec<EntryRequest>, Failure> {
    read(connection, REQUEST, cache, query, usize::MAX, |row| {
        Ok(EntryRequest { url: row.get(2)?, headers: to_headers(row.get_ref(3)?.as_str()?) })
    })
}

/// Deletes matching rows: how many they were. Adds the bodies that they leave to `released`.
pub(super) fn delete_matching(
    transaction: &Connection,
    cache: CacheId,
    query: &CacheQuery,
    released: &mut Released,
) -> Result<usize, Failure> {
    let ids = select(transaction, cache, Some(query), usize::MAX)?;
    let sql = "DELETE FROM cache_entries WHERE id = ?1 RETURNING size_bytes, body_file";
    let mut delete = transaction.prepare_cached(sql)?;
    for id in &ids {
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (size, body): (i64, Option<BodyId>) = delete.query_row([id], row)?;
        released.extend(body);
        resize(transaction, cache, -size)?;
    }
    Ok(ids.len())
}

/// Adds an entry beside whatever is there, and answers its row.
pub(crate) fn insert(
    transaction: &Connection,
    cache: CacheId,
    entry: &CacheEntry,
) -> Result<i64, Failure> {
    let size = entry_size(entry) as i64;
    let sql = "INSERT INTO cache_entries (cache_id, size_bytes, key_url, request_url, \
        request_headers, vary, response_type, url_list, status, status_text, response_headers, \
        body_size, body_file, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
        ?13, ?14)";
    let CacheEntry { request, vary, response } = entry;
    let (file, inline) = match &response.body {
        EntryBody::Null => (None, None),
        EntryBody::Inline(bytes) => (None, Some(bytes)),
        EntryBody::File { id, .. } => (Some(*id), None),
    };
    transaction.prepare_cached(sql)?.execute((
        cache,
        size,
        key_url(&request.url),
        &request.url,
        from_headers(&request.headers),
        (!vary.is_empty()).then(|| vary.join("\n")),
        response.response_type,
        response.url_list.join("\n"),
        response.status,
        &response.status_text,
        from_headers(&response.headers),
        response.body.size().map(|size| size as i64),
        file,
        inline,
    ))?;
    let row = transaction.last_insert_rowid();
    resize(transaction, cache, size)?;
    Ok(row)
}

/// What an entry counts against the quota.
pub(crate) fn entry_size(entry: &CacheEntry) -> u64 {
    let CacheEntry { request, response, .. } = entry;
    let headers = request.headers.iter().chain(&response.headers);
    let headers: usize = headers.map(|(name, value)| name.len() + value.len() + 2).sum();
    let urls: usize = response.url_list.iter().map(String::len).sum();
    let texts = 2 * request.url.len() + urls + response.status_text.len() + headers;
    ROW_BYTES + texts as u64 + response.body.size().unwrap_or(0)
}

fn resize(transaction: &Connection, cache: CacheId, more: i64) -> Result<(), Failure> {
    let sql = "UPDATE caches SET size_bytes = size_bytes + ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((cache, more))?;
    Ok(())
}

/// Reads `columns` of matching rows; they follow two that every query has.
fn read<T>(
    connection: &Connection,
    columns: &str,
    cache: CacheId,
    query: Option<&CacheQuery>,
    limit: usize,
    to_value: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Failure> {
    let (which, url) = match query {
        None => (OF_CACHE, None),
        Some(query) if query.ignore_search => {
            (OF_SEARCHLESS_URL, Some(searchless_url(&query.request.url)))
        }
        Some(query) => (OF_URL, Some(key_url(&query.request.url))),
    };
    let sql = format!(
        "SELECT vary, request_headers, {columns} FROM cache_entries WHERE {which} ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    bind(&mut statement, cache, url)?;
    let mut rows = statement.raw_query();
    let mut values = vec![];
    while let Some(row) = rows.next()? {
        if values.len() == limit {
            break;
        }
        let accepted = query.map_or(Ok(true), |query| accepts(query, row))?;
        if accepted {
            values.push(to_value(row)?);
        }
    }
    Ok(values)
}

fn bind(statement: &mut Statement<'_>, cache: CacheId, url: Option<&str>) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, cache)?;
    url.map_or(Ok(()), |url| statement.raw_bind_parameter(2, url))
}

fn accepts(query: &CacheQuery, row: &Row<'_>) -> rusqlite::Result<bool> {
    let Some(vary) = row.get_ref(0)?.as_str_or_null()? else {
        return Ok(true);
    };
    let vary: Vec<String> = vary.lines().map(str::to_owned).collect();
    Ok(query.accepts(&vary, &to_headers(row.get_ref(1)?.as_str()?)))
}

/// A line each. Neither names nor values have line breaks, and names have no colon:
/// <https://fetch.spec.whatwg.org/#concept-header>
fn from_headers(headers: &HeaderList) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        debug_assert!(!value.contains('\n') && !name.contains([':', '\n']));
        text.extend([name, ":", value, "\n"]);
    }
    text
}

pub(crate) fn to_headers(text: &str) -> HeaderList {
    let lines = text.split_terminator('\n').filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn unsigned(column: usize, value: i64) -> rusqlite::Result<u64> {
    value.try_into().map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Integer,
            "a size is negative".into(),
        )
    })
}
