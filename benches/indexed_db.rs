//! What IndexedDB costs beside fake-indexeddb in Node and bare rusqlite.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

mod peers;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use peers::{KITTIWAKE, Peers, ROOT, Result, last_json, median, run_page, version};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Odd, so that the median is one of them.
const RUNS: usize = 3;
/// As in `indexed_db/operations.js`.
const RECORDS: i64 = 100_000;
const AWAITED: i64 = 10_000;

fn main() {
    if let Err(error) = run() {
        println!("not measured: {error}");
    }
}

fn run() -> Result<()> {
    println!("kittiwake  {}", version(Command::new(KITTIWAKE)));
    println!("node       {}\n", version(Command::new("node")));
    let script = Path::new(ROOT).join("benches/indexed_db/operations.js");
    let (mut own, mut fake, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = tempfile::tempdir()?;
        own.push(run_page(&script, folder.path())?);
        fake.push(last_json(Peers::fake_indexed_db_run(&script)?)?);
        bare.push(run_bare(&folder.path().join("bare.sqlite"))?);
    }
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "microseconds an operation", "kittiwake", "fake", "rusqlite", "x fake", "x bare"
    );
    for (name, key, is_bulk) in [
        ("bulk insert", "insert", true),
        ("put, one after the other", "put", false),
        ("get, one after the other", "get", false),
        ("index lookup, likewise", "lookup", false),
        ("a step of a cursor", "walk", true),
        ("getAll of everything", "all", true),
    ] {
        let times = (median(&own, key)?, median(&fake, key)?, median(&bare, key)?);
        let (by_fake, by_bare) = (times.1 / times.0, times.2 / times.0);
        print!("{name:<28} {:>9.2} {:>9.2} {:>9.2}", times.0, times.1, times.2);
        print!(" {by_fake:>8.2} {by_bare:>8.2}");
        if is_bulk {
            print!("  at least 3 x fake: {};", verdict(by_fake >= 3.0));
        }
        println!("  at least 0.3 x bare: {}", verdict(by_bare >= 0.3));
    }
    Ok(())
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The same rows and questions without JavaScript: microseconds of each operation.
fn run_bare(file: &Path) -> Result<Value> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE records (id INTEGER PRIMARY KEY, tag TEXT, value TEXT) STRICT;
         CREATE INDEX tags ON records (tag);",
    )?;
    Ok(json!({
        "insert": measure(RECORDS, || put_all(&connection, RECORDS, |id| id))?,
        "put": measure(AWAITED, || put_all(&connection, AWAITED, scattered))?,
        "get": measure(AWAITED, || {
            for id in (0..AWAITED).map(scattered) {
                let sql = "SELECT value FROM records WHERE id = ?1";
                let mut statement = connection.prepare_cached(sql)?;
                let row = statement.query_row([id], |row| row.get::<_, String>(0))?;
                assert_eq!(row, value(id), "it is the record's value");
            }
            Ok(())
        })?,
        "lookup": measure(AWAITED, || {
            for id in (0..AWAITED).map(scattered) {
                let sql = "SELECT value FROM records WHERE tag = ?1";
                let mut statement = connection.prepare_cached(sql)?;
                let tag = format!("tag-{id}");
                let row = statement.query_row([tag], |row| row.get::<_, String>(0))?;
                assert_eq!(row, value(id), "it is the record's value");
            }
            Ok(())
        })?,
        "walk": measure(RECORDS, || read_all(&connection))?,
        "all": measure(RECORDS, || read_all(&connection))?,
    }))
}

fn put_all(connection: &Connection, count: i64, id: fn(i64) -> i64) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for id in (0..count).map(id) {
        let sql = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute((id, format!("tag-{id}"), value(id)))?;
    }
    Ok(transaction.commit()?)
}

fn read_all(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare_cached("SELECT value FROM records ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let values = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    assert_eq!(values.len() as i64, RECORDS, "every record is there");
    Ok(())
}

/// The records and their order are those of the script.
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
