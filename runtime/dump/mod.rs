//! Everything that scripts have stored in IndexedDB, as JSON.
//!
//! Invariant: nothing is changed and no engine started; a database is read record by record, so
//! that its size does not matter.

mod value;

use std::path::Path;

use kittiwake_store::indexed_db::{IndexedDbFile, Key, ObjectStoreMetadata, Record};
use serde_json::{Value, json};

use crate::listing::{StoredDatabase, databases_in, store_error, stores_in};
use crate::runtime::Error;

/// Gives every database of a state folder that no runtime uses to `each`, as a JSON object, and
/// after it every record of it, as one of its own; of one origin if it is named. They come by
/// origin, bucket and name, object stores by identifier, records by key. `each` answers whether it
/// wants more.
///
/// What JSON has no word for is an object with a member that begins with `$`: `{"$date": 0}`,
/// `{"$bytes": "00ff"}`, `{"$undefined": true}`, `{"$map": [["key", "value"]]}`. A value that
/// cannot be read is `{"$unreadable": "why"}`, and the rest goes on.
///
/// # Errors
///
/// [`Error::Store`], if the folder is not there, in use, or unreadable, or a database is damaged.
pub fn dump_databases(
    folder: &Path,
    origin: Option<&str>,
    each: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Error> {
    let stores = stores_in(folder)?;
    for (database, file) in databases_in(&stores)? {
        if origin.is_some_and(|origin| origin != database.origin) {
            continue;
        }
        if !dump(&database, &file, each)? {
            break;
        }
    }
    Ok(())
}

fn dump(
    database: &StoredDatabase,
    file: &IndexedDbFile,
    each: &mut dyn FnMut(Value) -> bool,
) -> Result<bool, Error> {
    let object_stores = file.object_stores().map_err(store_error)?;
    let described: Vec<_> = object_stores.iter().map(|(store, _)| describe(store)).collect();
    let header = json!({
        "kind": "indexed-db",
        "origin": database.origin,
        "bucket": database.bucket,
        "name": database.name,
        "version": database.version,
        "object_stores": described,
    });
    if !each(header) {
        return Ok(false);
    }
    for (object_store, _) in &object_stores {
        let name = String::from_utf16_lossy(&object_store.name);
        let mut wanted = true;
        let read = file.records(object_store.id, &mut |record| {
            wanted = each(json!({
                "kind": "record",
                "origin": database.origin,
                "bucket": database.bucket,
                "database": database.name,
                "object_store": name,
                "key": key_to_json(&record.key),
                "value": value_of(&record),
            }));
            wanted
        });
        read.map_err(store_error)?;
        if !wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn describe(store: &ObjectStoreMetadata) -> Value {
    let indexes = store.indexes.iter().map(|index| {
        json!({
            "name": String::from_utf16_lossy(&index.name),
            "key_path": key_path(&index.key_path),
            "unique": index.unique,
            "multi_entry": index.multi_entry,
        })
    });
    json!({
        "name": String::from_utf16_lossy(&store.name),
        "key_path": key_path(&store.key_path),
        "auto_increment": store.auto_increment,
        "indexes": indexes.collect::<Vec<_>>(),
    })
}

/// It is kept as JSON.
fn key_path(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "$unreadable": text }))
}

fn key_to_json(key: &Key) -> Value {
    match key {
        Key::Number(number) => value::number(*number),
        Key::Date(time) => json!({ "$date": value::number(*time) }),
        Key::String(units) => json!(String::from_utf16_lossy(units)),
        Key::Binary(bytes) => json!({ "$bytes": value::hex(bytes) }),
        Key::Array(keys) => Value::Array(keys.iter().map(key_to_json).collect()),
        Key::Generated => Value::Null,
    }
}

fn value_of(record: &Record) -> Value {
    let Some(stored) = &record.value else { return Value::Null };
    let part = |name: &str| {
        let found = stored.blobs.iter().find(|blob| blob.part == name);
        found.and_then(|blob| blob.contents.read_all().ok())
    };
    let read = value::read(&stored.bytes, &part);
    read.unwrap_or_else(|error| json!({ "$unreadable": error.to_string() }))
}
