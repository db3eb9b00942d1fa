//! What Blob and File objects hold: in their row if it is little, else in a file of its own, in a
//! folder beside the database.
//!
//! Invariant: a file that a row names is whole, and on disk before the row is committed; one that
//! no row names is removed when nobody reads it any more, at the latest when the database is opened
//! again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::Durability;
use super::file::sync_folder;
use crate::error::{StoreError, file_error};
use crate::folder::create_durably;

/// More than this has a file of its own.
const IN_ROW_BYTES: u64 = 64 << 10;
/// Of the folder, whose name is the database's otherwise.
pub(super) const EXTENSION: &str = "blobs";

/// The bytes of a Blob or File object, or of a part of one, that are to be stored.
pub trait BlobSource: Debug + Send + Sync {
    /// How many there are.
    fn bytes(&self) -> u64;
    /// Writes them all.
    ///
    /// # Errors
    ///
    /// What the writer says; or that they cannot be read.
    fn write_to(&self, writer: &mut dyn Write) -> io::Result<()>;
}

impl BlobSource for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn write_to(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(self)
    }
}

/// What is to be stored of a part.
#[derive(Clone, Debug)]
pub struct NewBlobPart {
    /// By which the value names it.
    pub part: String,
    /// What it holds.
    pub source: Arc<dyn BlobSource>,
}

/// What is stored of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct BlobPart {
    /// By which the value names it.
    pub part: String,
    /// What it holds.
    pub contents: BlobContents,
}

/// The bytes of a part, or where they are.
#[derive(Clone, Debug, PartialEq)]
pub enum BlobContents {
    /// They are few.
    Bytes(Vec<u8>),
    /// They are in a file, which stays as long as this.
    File(Arc<BlobFile>),
}

impl BlobContents {
    /// How many bytes of memory it takes.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(_) => size_of::<BlobFile>(),
        }
    }

    /// Every byte.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`]
    pub fn read_all(&self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(file) => file.read(0, file.bytes as usize),
        }
    }
}

/// A file with the bytes of a part. It stays until the last of these is dropped, though its record
/// be gone.
#[derive(Debug)]
pub struct BlobFile {
    path: PathBuf,
    bytes: u64,
    /// Whether no row names it any more.
    is_orphan: AtomicBool,
}

impl BlobFile {
    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is there with every byte.
    pub fn is_whole(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }

    /// So many bytes from a place on.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`]
    pub fn read(&self, from: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let mut bytes = vec![0; length];
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| file_error(&self.path, source))
    }
}

impl PartialEq for BlobFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if *self.is_orphan.get_mut() {
            // Where it fails, the next opening does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The files that somebody reads, of the databases of one origin.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldFiles(Arc<Mutex<BTreeMap<PathBuf, Weak<BlobFile>>>>);

impl HeldFiles {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Weak<BlobFile>>> {
        self.0.lock().expect("invariant: nobody panics with it")
    }

    fn hold(&self, path: PathBuf, bytes: u64) -> Arc<BlobFile> {
        let mut files = self.files();
        if let Some(held) = files.get(&path).and_then(Weak::upgrade) {
            return held;
        }
        // Those that nobody reads any more.
        if files.len() % 1024 == 1023 {
            files.retain(|_, file| file.strong_count() > 0);
        }
        let file = BlobFile { path: path.clone(), bytes, is_orphan: AtomicBool::new(false) };
        let file = Arc::new(file);
        files.insert(path, Arc::downgrade(&file));
        file
    }

    /// Removes a file that no row names: now, or when nobody reads it any more.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let held = self.files().get(path).and_then(Weak::upgrade);
        if let Some(held) = held {
            held.is_orphan.store(true, Ordering::Relaxed);
            return Ok(());
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the folder of a database that is gone.
    pub(super) fn remove_all(&self, database: &Path) -> io::Result<()> {
        let folder = database.with_extension(EXTENSION);
        for (_, path) in numbered(&folder)? {
            self.remove(&path)?;
        }
        // What is still read, or another program's, stays, and so does the folder.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }
}

/// Bytes of the files beside a database.
pub(super) fn bytes_beside(database: &Path) -> io::Result<u64> {
    let files = numbered(&database.with_extension(EXTENSION))?;
    files.iter().try_fold(0, |sum, (_, path)| Ok(sum + fs::metadata(path)?.len()))
}

/// The files of a folder that have numbers as names; other names are not ours.
fn numbered(folder: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        files.extend(name.and_then(|name| name.parse().ok()).map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}

/// The files of one database.
#[derive(Debug)]
pub(super) struct BlobFolder {
    folder: PathBuf,
    held: HeldFiles,
    /// A number is never given twice while a file of that number may be there.
    next: i64,
    /// Bytes of all files that rows name.
    bytes: u64,
    /// As it was when the transaction began.
    committed_bytes: u64,
    /// Files that the transaction has made, and those whose rows it has deleted.
    made: Vec<i64>,
    unnamed: Vec<i64>,
}

impl BlobFolder {
    /// The folder of a database whose rows name files of these numbers and sizes. What a crash has
    /// left besides is removed.
    pub(super) fn open(
        database: &Path,
        held: HeldFiles,
        named: &BTreeMap<i64, i64>,
    ) -> Result<Self, StoreError> {
        let folder = database.with_extension(EXTENSION);
        let found = numbered(&folder).map_err(|source| file_error(&folder, source))?;
        for (_, path) in found.iter().filter(|(number, _)| !named.contains_key(number)) {
            held.remove(path).map_err(|source| file_error(path, source))?;
        }
        let last_found = found.last().map_or(0, |(number, _)| *number);
        let last_named = named.last_key_value().map_or(0, |(number, _)| *number);
        let bytes = named.values().map(|bytes| bytes.cast_unsigned()).sum();
        let (next, committed_bytes) = (last_found.max(last_named) + 1, bytes);
        Ok(Self { folder, held, next, bytes, committed_bytes, made: vec![], unnamed: vec![] })
    }

    /// Bytes of all files that rows name.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn wants(&self, source: &dyn BlobSource) -> bool {
        source.bytes() > IN_ROW_BYTES
    }

    /// Makes a file, which is the transaction's until that is committed: its number.
    pub(super) fn write(
        &mut self,
        source: &dyn BlobSource,
        durability: Durability,
    ) -> Result<i64, StoreError> {
        let number = self.next;
        let path = self.path(number);
        let write = || -> io::Result<()> {
            if !self.folder.exists() {
                create_durably(&self.folder)?;
            }
            let mut file = File::create_new(&path)?;
            source.write_to(&mut file)?;
            let whole = file.metadata()?.len() == source.bytes();
            if !whole {
                return Err(io::Error::other("the blob has fewer bytes than it said"));
            }
            if durability == Durability::Strict { file.sync_all() } else { Ok(()) }
        };
        self.next += 1;
        self.made.push(number);
        write().map_err(|source| file_error(&path, source))?;
        self.bytes += source.bytes();
        Ok(number)
    }

    /// The transaction has deleted the row that named it.
    pub(super) fn unname(&mut self, number: i64, bytes: i64) {
        self.bytes = self.bytes.saturating_sub(bytes.cast_unsigned());
        self.unnamed.push(number);
    }

    /// As `hold`, of a database that is only listed.
    pub(super) fn hold_beside(database: &Path, number: i64, bytes: u64) -> Arc<BlobFile> {
        let path = database.with_extension(EXTENSION).join(number.to_string());
        Arc::new(BlobFile { path, bytes, is_orphan: AtomicBool::new(false) })
    }

    pub(super) fn hold(&self, number: i64, bytes: u64) -> Arc<BlobFile> {
        self.held.hold(self.path(number), bytes)
    }

    /// Before rows are committed that name new files.
    pub(super) fn before_commit(&self, durability: Durability) -> Result<(), StoreError> {
        if self.made.is_empty() || durability == Durability::Relaxed {
            return Ok(());
        }
        sync_folder(&self.folder).map_err(|source| file_error(&self.folder, source))
    }

    /// What fails to be removed is removed when the database is opened again.
    pub(super) fn after_commit(&mut self) {
        self.made.clear();
        self.committed_bytes = self.bytes;
        for number in std::mem::take(&mut self.unnamed) {
            let _ = self.held.remove(&self.path(number));
        }
    }

    /// As `after_commit`, of a transaction that is taken back.
    pub(super) fn after_roll_back(&mut self) {
        self.unnamed.clear();
        self.bytes = self.committed_bytes;
        for number in std::mem::take(&mut self.made) {
            let _ = self.held.remove(&self.path(number));
        }
    }

    fn path(&self, number: i64) -> PathBuf {
        self.folder.join(number.to_string())
    }
}
