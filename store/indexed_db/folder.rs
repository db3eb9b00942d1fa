//! What an origin's folder of databases is as a whole: how much it holds, and its end.
//!
//! Invariant: only folders that an `origin` file marks as ours are removed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::blobs::{self, bytes_beside};
use super::file::{EXTENSION, FOLDER, IndexedDbFolder, ORIGIN_FILE, sync_folder};
use crate::error::StoreError;
use crate::folder;

impl IndexedDbFolder {
    /// Bytes of each database that is a file, with the files of its blobs, by the file's name;
    /// nothing if they are in memory.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn sizes(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let Some(folder) = self.folder() else { return Ok(BTreeMap::new()) };
        let read = || -> io::Result<BTreeMap<String, u64>> {
            let mut sizes = BTreeMap::new();
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == EXTENSION) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    sizes.insert(name, entry.metadata()?.len() + bytes_beside(&path)?);
                }
            }
            Ok(sizes)
        };
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            read => read.map_err(|source| folder::folder_error(folder, source)),
        }
    }

    /// Deletes every database, none of which anybody has open, with those that were set aside.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn delete_all(&self) -> Result<(), StoreError> {
        self.folder().map_or(Ok(()), remove)
    }

    /// Deletes the folders of a state folder whose storage keys `keep` refuses, and files of blobs
    /// whose database is gone: what a crash in the deletion of a storage bucket or of a database
    /// left.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn sweep(state: &Path, keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let root = state.join(FOLDER);
        let folders = match fs::read_dir(&root) {
            Ok(folders) => folders,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(folder::folder_error(&root, source)),
        };
        for folder in folders {
            let folder = folder.map_err(|source| folder::folder_error(&root, source))?.path();
            let Ok(key) = fs::read_to_string(folder.join(ORIGIN_FILE)) else { continue };
            if !keep(&key) {
                remove(&folder)?;
            } else {
                let swept = remove_strays(&folder);
                swept.map_err(|source| folder::folder_error(&folder, source))?;
            }
        }
        Ok(())
    }
}

/// Removes the files of blobs that have no database beside them, nor one that was set aside.
fn remove_strays(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_of = |database: &str| path.with_extension(database).exists();
        let is_blobs = path.extension().is_some_and(|extension| extension == blobs::EXTENSION);
        if is_blobs && !is_of(EXTENSION) && !is_of("") {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// The mark goes last, so that what a crash leaves is still known as ours.
fn remove(folder: &Path) -> Result<(), StoreError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name() == ORIGIN_FILE {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_file(folder.join(ORIGIN_FILE))?;
        fs::remove_dir(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    };
    match remove() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| folder::folder_error(folder, source)),
    }
}
