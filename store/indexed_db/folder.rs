//! What an origin's folder of databases is as a whole: how much it holds, and its end.
//!
//! Invariant: only folders that an `origin` file marks as ours are removed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::file::{EXTENSION, FOLDER, IndexedDbFolder, ORIGIN_FILE, sync_folder};
use crate::error::StoreError;
use crate::folder;

impl IndexedDbFolder {
    /// Bytes of each database that is a file, by the file's name; nothing if they are in memory.
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
                    sizes.insert(name, entry.metadata()?.len());
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

    /// Deletes the folders of a state folder whose storage keys `keep` refuses: what a crash in
    /// the deletion of a storage bucket left.
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
            let key = fs::read_to_string(folder.join(ORIGIN_FILE));
            if key.is_ok_and(|key| !keep(&key)) {
                remove(&folder)?;
            }
        }
        Ok(())
    }
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
