//! Bodies that are too large for the database: a file each, beside it.
//! Invariant: a file that a row names is whole and on disk; one that no row names is removed, at
//! the latest when the folder is opened again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::BodyId;
use crate::StoreError;
use crate::error::file_error;
use crate::folder::create_durably;

/// Its name inside the state folder.
const FOLDER: &str = "caches";

/// Where bodies are kept. It may be sent to threads that read and write them.
#[derive(Clone, Debug)]
pub struct BodyFolder {
    folder: PathBuf,
}

impl BodyFolder {
    /// Opens a body for reading.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`], also if somebody removed the file.
    pub fn open(&self, id: BodyId) -> Result<File, StoreError> {
        let path = self.path(id);
        File::open(&path).map_err(|source| file_error(&path, source))
    }

    /// Tells that reading a body failed.
    pub fn read_error(&self, id: BodyId, source: io::Error) -> StoreError {
        file_error(&self.path(id), source)
    }

    /// Removes a body that no entry names any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`]. What is left is removed when the folder is opened again.
    pub fn remove(&self, id: BodyId) -> Result<(), StoreError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(file_error(&path, source)),
            _ => Ok(()),
        }
    }

    fn sweep(&self, kept: &BTreeSet<BodyId>) -> Result<(), StoreError> {
        let unusable = |source| file_error(&self.folder, source);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(unusable(source)),
        };
        for entry in entries {
            let name = entry.map_err(unusable)?.file_name();
            // Other names are not ours, and stay.
            let id = name.to_str().and_then(|name| name.parse().ok()).map(BodyId);
            if let Some(id) = id.filter(|id| !kept.contains(id)) {
                self.remove(id)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: BodyId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

/// A body that is being written. Nobody sees it before an entry that names it is put; its file goes
/// with it, unless it is kept.
#[derive(Debug)]
pub struct NewBody {
    id: BodyId,
    path: PathBuf,
    /// Made with the first bytes.
    file: Option<File>,
}

impl NewBody {
    /// The name that the entry has to tell.
    pub fn id(&self) -> BodyId {
        self.id
    }

    /// Appends to the body.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], [`StoreError::BodyUnusable`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                unmade => unmade.insert(make(&self.path)?),
            };
            file.write_all(bytes)
        };
        write().map_err(|source| file_error(&self.path, source))
    }

    /// Waits until the whole body is on disk, and so is the folder's entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], [`StoreError::BodyUnusable`].
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.write(&[])?;
        let finish = || {
            self.file.as_ref().expect("invariant: it was written to").sync_all()?;
            sync_entries(folder_of(&self.path))
        };
        finish().map_err(|source| file_error(&self.path, source))
    }

    /// Leaves the file to the entry that names it. To be called when that is committed.
    pub fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for NewBody {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Where it fails, the next start does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make(path: &Path) -> io::Result<File> {
    let folder = folder_of(path);
    if !folder.exists() {
        create_durably(folder)?;
    }
    File::create_new(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("invariant: a body is in a folder")
}

/// Only Unix opens folders as files; elsewhere their entries are durable on their own.
fn sync_entries(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(folder)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}

/// Where a store's bodies are, and which number the next one gets.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Unset for a store in memory that has had no large body yet.
    folder: OnceLock<BodyFolder>,
    temporary: OnceLock<TempDir>,
    next: AtomicI64,
}

impl Bodies {
    pub(crate) fn beside(state: &Path) -> Self {
        let bodies = Self::temporary();
        let folder = BodyFolder { folder: state.join(FOLDER) };
        bodies.folder.set(folder).expect("invariant: it was made in the line above");
        bodies
    }

    /// In a folder of the system's, for as long as the store lives.
    pub(crate) fn temporary() -> Self {
        Self { folder: OnceLock::new(), temporary: OnceLock::new(), next: AtomicI64::new(1) }
    }

    /// Removes every file but those of `kept`.
    pub(super) fn sweep(&self, kept: &BTreeSet<BodyId>) -> Result<(), StoreError> {
        self.next.store(kept.last().map_or(1, |last| last.0 + 1), Ordering::Relaxed);
        self.folder.get().map_or(Ok(()), |folder| folder.sweep(kept))
    }

    pub(super) fn begin(&self) -> Result<NewBody, StoreError> {
        let id = BodyId(self.next.fetch_add(1, Ordering::Relaxed));
        Ok(NewBody { id, path: self.folder()?.path(id), file: None })
    }

    pub(super) fn folder(&self) -> Result<BodyFolder, StoreError> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder.clone());
        }
        let made = tempfile::Builder::new().prefix("kittiwake-caches-").tempdir();
        let made = made.map_err(|source| file_error(Path::new("a temporary folder"), source))?;
        let folder = BodyFolder { folder: made.path().to_path_buf() };
        self.temporary.get_or_init(|| made);
        Ok(self.folder.get_or_init(|| folder).clone())
    }
}
