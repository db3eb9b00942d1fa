//! What the same costs in bare rusqlite: the same tables, the same rows and entries of an index,
//! the same statements, the same pragmas; a caller gets copies of keys and values. There are no
//! requests, clones, events or promises.

use std::path::Path;
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row, Transaction};
use serde_json::{Value, json};

use crate::peers::Result;

/// As in `operations.js`.
const RECORDS: i64 = 100_000;
const AWAITED: i64 = 10_000;
const OBJECT_STORE: u32 = 1;
const INDEX: u32 = 1;

/// Microseconds of each operation.
pub fn run(file: &Path) -> Result<Value> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(include_str!("../../store/indexed_db/schema.sql"))?;
    Ok(json!({
        "insert": measure(RECORDS, || put_all(&connection, RECORDS, |id| id))?,
        "put": measure(AWAITED, || put_all(&connection, AWAITED, scattered))?,
        "get": measure(AWAITED, || {
            for id in (0..AWAITED).map(scattered) {
                assert_eq!(get(&connection, &key(id))?.0, id as f64, "it is the record");
            }
            Ok(())
        })?,
        "lookup": measure(AWAITED, || {
            for id in (0..AWAITED).map(scattered) {
                assert_eq!(look_up(&connection, id)?.0, id as f64, "it is the record");
            }
            Ok(())
        })?,
        "walk": measure(RECORDS, || {
            let mut seen = 0;
            each(&connection, |key, _value| {
                assert_eq!(key, seen as f64, "records are in order");
                seen += 1;
            })?;
            assert_eq!(seen, RECORDS, "every record is there");
            Ok(())
        })?,
        "all": measure(RECORDS, || {
            let mut values = Vec::new();
            each(&connection, |_key, value| values.push(value))?;
            assert_eq!(values.len() as i64, RECORDS, "every record is there");
            Ok(())
        })?,
    }))
}

fn put_all(connection: &Connection, count: i64, id: fn(i64) -> i64) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for id in (0..count).map(id) {
        put(&transaction, id)?;
    }
    Ok(transaction.commit()?)
}

fn put(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    let (key, tag) = (key(id), tag(id));
    let entries = [&INDEX.to_be_bytes(), &(tag.len() as u32).to_be_bytes(), &tag[..]].concat();
    let value = value(id).into_bytes();
    // A checksum is not SQLite's to compute: only its column is written.
    let row = (OBJECT_STORE, &key, &value, &entries, false, id);
    let sql = "INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    if transaction.prepare_cached(sql)?.execute(row)? == 0 {
        let sql = "SELECT entries FROM records WHERE object_store = ?1 AND key = ?2";
        let mut statement = transaction.prepare_cached(sql)?;
        let old: Vec<u8> = statement.query_row((OBJECT_STORE, &key), |row| row.get(0))?;
        assert_eq!(old, entries, "a record keeps its place in the index");
        let sql = "UPDATE records SET value = ?3, entries = ?4, has_blobs = ?5, checksum = ?6
                   WHERE object_store = ?1 AND key = ?2";
        transaction.prepare_cached(sql)?.execute(row)?;
        return Ok(());
    }
    let sql = "INSERT INTO index_entries VALUES (?1, ?2, ?3)";
    let entry = [&tag[..], &key].concat();
    transaction.prepare_cached(sql)?.execute((INDEX, entry, tag.len() as u32))?;
    Ok(())
}

fn get(connection: &Connection, key: &[u8]) -> Result<(f64, Vec<u8>)> {
    let sql = "SELECT key, value FROM records WHERE object_store = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row((OBJECT_STORE, key), record)?)
}

fn look_up(connection: &Connection, id: i64) -> Result<(f64, Vec<u8>)> {
    let tag = tag(id);
    let after = [&tag[..], &[0xff]].concat();
    let sql = "SELECT entry, key_length FROM index_entries WHERE index_id = ?1 AND entry >= ?2
               AND entry < ?3 ORDER BY entry LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let key = statement.query_row((INDEX, tag, after), |row| {
        Ok(row.get_ref(0)?.as_blob()?[row.get::<_, u32>(1)? as usize..].to_vec())
    })?;
    get(connection, &key)
}

fn each(connection: &Connection, mut take: impl FnMut(f64, Vec<u8>)) -> Result<()> {
    let sql = "SELECT key, value FROM records WHERE object_store = ?1 ORDER BY key";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([OBJECT_STORE])?;
    while let Some(row) = rows.next()? {
        let (key, value) = record(row)?;
        take(key, value);
    }
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<(f64, Vec<u8>)> {
    let key = row.get_ref(0)?.as_blob()?.last_chunk().expect("a key of a number");
    // Of a positive number, as `key` writes it.
    Ok((f64::from_bits(u64::from_be_bytes(*key) & !(1 << 63)), row.get(1)?))
}

/// As `store/indexed_db/key.rs` encodes them.
fn key(id: i64) -> Vec<u8> {
    let mut bytes = vec![0x10];
    bytes.extend_from_slice(&((id as f64).to_bits() | 1 << 63).to_be_bytes());
    bytes
}

fn tag(id: i64) -> Vec<u8> {
    let mut bytes = vec![0x30];
    bytes.extend(format!("tag-{id}").bytes().map(|byte| byte + 1));
    bytes.push(0);
    bytes
}

/// As long as what V8 makes of the script's record.
fn value(id: i64) -> String {
    let body = "x".repeat(100);
    format!(
        r#"{{"id":{id},"tag":"tag-{id}","url":"https://app.test/outbox/{id}","body":"{body}"}}"#
    )
}

fn scattered(number: i64) -> i64 {
    number * 7919 % RECORDS
}

fn measure(count: i64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e6 / count as f64)
}
