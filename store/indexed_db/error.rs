//! Why a step of a transaction failed.
//!
//! Invariant: the script's faults have variants of their own; the disk's are the store's errors.

use crate::error::StoreError;

/// Why a step of a transaction failed, or a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IndexedDbError {
    /// A key that is there already, or a key generator at its end: `ConstraintError`.
    #[error("{0}")]
    Constraint(&'static str),
    /// More than one answer may hold, or one value: `UnknownError`, or `DataError`.
    #[error("{0}")]
    TooLarge(&'static str),
    /// What a Blob or File object held is not there, or not whole: `NotReadableError`.
    #[error("The data of a Blob or File object could not be read.")]
    BlobGone,
    /// What the disk says: `QuotaExceededError` if it is full, or the quota is; else
    /// `UnknownError`.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IndexedDbError {
    /// Whether the bytes of the database are at fault.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_damage())
    }
}

/// As [`IndexedDbError`], before it is known whose file it is.
pub(super) enum Interrupted {
    Known(IndexedDbError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Interrupted {
    fn from(error: rusqlite::Error) -> Self {
        let too_big = error.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig);
        match error {
            _ if too_big => IndexedDbError::TooLarge("The value is too large.").into(),
            error => Interrupted::Sqlite(error),
        }
    }
}

impl From<IndexedDbError> for Interrupted {
    fn from(error: IndexedDbError) -> Self {
        Interrupted::Known(error)
    }
}

impl From<super::NotAKey> for Interrupted {
    fn from(error: super::NotAKey) -> Self {
        Interrupted::damage(error)
    }
}

/// Bytes that are not those that were written.
#[derive(Debug, thiserror::Error)]
#[error("a record has another checksum than it had")]
pub(super) struct OtherChecksum;

impl From<OtherChecksum> for Interrupted {
    fn from(error: OtherChecksum) -> Self {
        Interrupted::damage(error)
    }
}

impl Interrupted {
    fn damage(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let kind = rusqlite::types::Type::Blob;
        Interrupted::Sqlite(rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error)))
    }
}
