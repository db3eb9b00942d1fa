//! The state folder: made, locked for one runtime, and looked at before SQLite may touch it.
//! Invariant: a folder or database that is refused keeps every byte, except for the lock file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::DATABASE_FILE;
use crate::error::{LockHolder, StoreError};
use crate::migrations::newest_schema;
use crate::schema::APPLICATION_ID;

const LOCK_FILE: &str = "lock";

/// Makes the folder and its parents if they are missing.
pub(crate) fn create(folder: &Path) -> Result<(), StoreError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(StoreError::NotAFolder { folder: folder.to_path_buf() }),
        Err(_) => create_durably(folder).map_err(|source| folder_error(folder, source)),
    }
}

/// Whether a runtime has kept state in a folder.
pub(crate) enum Contents {
    State,
    Nothing,
}

/// Looks into a folder that must be there, and leaves it as it is.
pub(crate) fn look(folder: &Path) -> Result<Contents, StoreError> {
    match fs::metadata(folder) {
        Ok(found) if !found.is_dir() => {
            return Err(StoreError::NotAFolder { folder: folder.to_path_buf() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StoreError::NoFolder { folder: folder.to_path_buf() });
        }
        Err(source) => return Err(folder_error(folder, source)),
    }
    let database = folder.join(DATABASE_FILE);
    match database.try_exists() {
        Ok(true) => Ok(Contents::State),
        Ok(false) => Ok(Contents::Nothing),
        Err(source) => Err(folder_error(folder, source)),
    }
}

/// Takes the folder for one runtime, until the returned file is closed; the operating system
/// closes it when the process dies in any way, so no lock is ever stale.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK_FILE);
    // Not truncated: the file still belongs to its holder, whose identifier is in it.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| folder_error(folder, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked { folder: folder.to_path_buf(), holder: holder(file) });
        }
        Err(TryLockError::Error(source)) => return Err(folder_error(folder, source)),
    }
    write_holder(&mut file).map_err(|source| folder_error(folder, source))?;
    Ok(file)
}

/// Refuses a database file by its first bytes, without SQLite: SQLite would replay or delete the
/// journals of a foreign database merely to answer a question.
pub(crate) fn refuse_by_header(folder: &Path) -> Result<PathBuf, StoreError> {
    let database = folder.join(DATABASE_FILE);
    match read_header(&database) {
        Ok(Header::Absent) => Ok(database),
        Ok(Header::Unrecognised) => {
            // A rollback journal beside it is a creation that a power cut interrupted. SQLite
            // rolls it back to an empty file.
            let journal = folder.join(format!("{DATABASE_FILE}-journal"));
            if journal.exists() { Ok(database) } else { Err(StoreError::NotADatabase { database }) }
        }
        Ok(Header::Sqlite { application_id, user_version }) => {
            refuse_marks(&database, application_id, user_version)?;
            Ok(database)
        }
        Err(source) => Err(StoreError::DatabaseUnusable { database, source: Box::new(source) }),
    }
}

/// Refuses a database by the marks that its program left.
pub(crate) fn refuse_marks(
    database: &Path,
    application_id: i32,
    user_version: i32,
) -> Result<(), StoreError> {
    let database = database.to_path_buf();
    let newest = newest_schema();
    if application_id != APPLICATION_ID {
        return Err(StoreError::ForeignDatabase { database, application_id });
    }
    if user_version > newest {
        return Err(StoreError::NewerSchema { database, found: user_version, newest });
    }
    Ok(())
}

enum Header {
    /// No file, or the empty one that a crash right after its creation leaves.
    Absent,
    Unrecognised,
    Sqlite {
        application_id: i32,
        user_version: i32,
    },
}

/// The header's layout: <https://www.sqlite.org/fileformat.html#the_database_header>
fn read_header(database: &Path) -> io::Result<Header> {
    const LENGTH_BYTES: u64 = 100;
    let file = match File::open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Header::Absent),
        Err(error) => return Err(error),
    };
    let mut header = Vec::new();
    file.take(LENGTH_BYTES).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Header::Absent);
    }
    let number = |at: usize| Some(i32::from_be_bytes(*header.get(at..)?.first_chunk()?));
    match (number(68), number(60)) {
        (Some(application_id), Some(user_version)) if header.starts_with(b"SQLite format 3\0") => {
            Ok(Header::Sqlite { application_id, user_version })
        }
        _ => Ok(Header::Unrecognised),
    }
}

/// A file is as durable as the entries of the folders above it, so each new entry is synced too.
pub(crate) fn create_durably(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.exists() {
        create_durably(parent)?;
    }
    // Not `create_dir`: another process that makes the folder now is no error.
    fs::create_dir_all(folder)?;
    // Only Unix opens folders as files; elsewhere their entries are durable on their own.
    #[cfg(unix)]
    File::open(parent)?.sync_all()?;
    Ok(())
}

fn holder(mut file: File) -> LockHolder {
    let mut text = String::new();
    // Best effort: the identifier only makes the message better, and some systems let nobody
    // read a locked file.
    match file.read_to_string(&mut text).map(|_| text.trim().parse()) {
        Ok(Ok(process)) => LockHolder::Process(process),
        Ok(Err(_)) | Err(_) => LockHolder::Unknown,
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

pub(crate) fn folder_error(folder: &Path, source: io::Error) -> StoreError {
    let folder = folder.to_path_buf();
    match source.kind() {
        ErrorKind::StorageFull => StoreError::DiskFull { place: folder },
        _ => StoreError::FolderUnusable { folder, source },
    }
}
