//! Bodies that are too large for the database: a file each, beside it.
//! Invariant: a file that a row names is whole and on disk; one that no row names is removed, at
//! the latest when the folder is opened again.

use std::cell::{Cell, OnceCell};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

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
    /// Begins a body. Nobody sees it before an entry that names it is put.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], [`StoreError::BodyUnusable`].
    pub fn create(&self, id: BodyId) -> Result<NewBody, StoreError> {
        let path = self.path(id);
        let create = || {
            if !self.folder.exists() {
                create_durably(&self.folder)?;
            }
            File::create_new(&path)
        };
        let file = create().map_err(|source| file_error(&path, source))?;
        Ok(NewBody { file, path, is_kept: false })
    }

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

    /// Removes every file that `is_kept` does not know.
    fn sweep(&self, is_kept: impl Fn(BodyId) -> bool) -> Result<(), StoreError> {
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
            if let Some(id) = id.filter(|id| !is_kept(*id)) {
                self.remove(id)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: BodyId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

/// A body that is being written. Its file goes with it, unless it is kept.
#[derive(Debug)]
pub struct NewBody {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl NewBody {
    /// Appends to the body.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], [`StoreError::BodyUnusable`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| file_error(&self.path, source))
    }

    /// Waits until the whole body is on disk, and so is the folder's entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], [`StoreError::BodyUnusable`].
    pub fn finish(&mut self) -> Result<(), StoreError> {
        let finish = || {
            self.file.sync_all()?;
            sync_entries(self.path.parent().expect("invariant: a body is in a folder"))
        };
        finish().map_err(|source| file_error(&self.path, source))
    }

    /// Leaves the file to the entry that names it. To be called when that is committed.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewBody {
    fn drop(&mut self) {
        if !self.is_kept {
            // Where it fails, the next start does it.
            let _ = fs::remove_file(&self.path);
        }
    }
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
    folder: OnceCell<BodyFolder>,
    temporary: OnceCell<TempDir>,
    pub(super) next: Cell<i64>,
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
        Self { folder: OnceCell::new(), temporary: OnceCell::new(), next: Cell::new(1) }
    }

    pub(super) fn sweep(&self, is_kept: impl Fn(BodyId) -> bool) -> Result<(), StoreError> {
        self.folder.get().map_or(Ok(()), |folder| folder.sweep(is_kept))
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
