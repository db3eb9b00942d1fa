//! Cookies that outlive the process.
//! Invariant: a cookie is kept as the header that set it; what it means is the runtime's to say.

use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::{RegistrationId, Store, StoreError};

/// What tells the cookies of one partition apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CookieKey {
    /// The host, or the domain that it was set for.
    pub domain: String,
    /// The path that it was set for.
    pub path: String,
    /// Its name.
    pub name: String,
}

/// A cookie with an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCookie {
    /// Its key in its partition.
    pub key: CookieKey,
    /// The value of the `set-cookie` header.
    pub set_cookie: String,
    /// The URL whose response had it.
    pub url: String,
    /// When it was first set, in Unix epoch ms.
    pub created_at_ms: i64,
    /// When it ends, in Unix epoch ms.
    pub expires_at_ms: i64,
}

/// <https://wicg.github.io/cookie-store/#cookie-change-subscription>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSubscription {
    /// `None` for every name.
    pub name: Option<String>,
    /// Cookies that are sent there.
    pub url: String,
}

/// One change of a partition's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieChange {
    /// It is there from now on, and replaces the one with its key.
    Set(StoredCookie),
    /// It is gone.
    Removed(CookieKey),
}

impl Store {
    /// The cookies of a partition that have not ended, oldest first.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn cookies(&self, partition: &str, now_ms: i64) -> Result<Vec<StoredCookie>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT domain, path, name, set_cookie, url, created_at_ms, expires_at_ms
                 FROM cookies WHERE partition = ?1 AND expires_at_ms > ?2
                 ORDER BY created_at_ms, domain, path, name",
            )?;
            let rows = statement.query_map(params![partition, now_ms], |row| {
                let key = CookieKey { domain: row.get(0)?, path: row.get(1)?, name: row.get(2)? };
                Ok(StoredCookie {
                    key,
                    set_cookie: row.get(3)?,
                    url: row.get(4)?,
                    created_at_ms: row.get(5)?,
                    expires_at_ms: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Changes a partition's cookies, and forgets those of it that have ended. A power cut may undo
    /// it.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn change_cookies(
        &self,
        partition: &str,
        changes: &[CookieChange],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write_soon(|transaction| change(transaction, partition, changes, now_ms))
    }

    /// As [`Store::change_cookies`], but on disk when it returns: a script was promised it.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn change_cookies_durably(
        &self,
        partition: &str,
        changes: &[CookieChange],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(|transaction| change(transaction, partition, changes, now_ms))
    }

    /// What changes of cookies a registration's worker hears of, in the order of their making.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn cookie_subscriptions(
        &self,
        registration: RegistrationId,
    ) -> Result<Vec<CookieSubscription>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT name, url FROM cookie_subscriptions
                       WHERE registration_id = ?1 ORDER BY position";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([registration], |row| {
                Ok(CookieSubscription { name: row.get(0)?, url: row.get(1)? })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Replaces a registration's subscriptions; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn set_cookie_subscriptions(
        &self,
        registration: RegistrationId,
        subscriptions: &[CookieSubscription],
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "DELETE FROM cookie_subscriptions WHERE registration_id = ?1";
            transaction.prepare_cached(sql)?.execute([registration])?;
            let sql = "INSERT INTO cookie_subscriptions VALUES (?1, ?2, ?3, ?4)";
            for (position, CookieSubscription { name, url }) in subscriptions.iter().enumerate() {
                let row = (registration, position as i64, name, url);
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            Ok(())
        })
    }
}

fn change(
    transaction: &Connection,
    partition: &str,
    changes: &[CookieChange],
    now_ms: i64,
) -> Result<(), Failure> {
    let ended = "DELETE FROM cookies WHERE partition = ?1 AND expires_at_ms <= ?2";
    transaction.prepare_cached(ended)?.execute(params![partition, now_ms])?;
    let mut set = transaction
        .prepare_cached("INSERT OR REPLACE INTO cookies VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut remove = transaction.prepare_cached(
        "DELETE FROM cookies
                 WHERE partition = ?1 AND domain = ?2 AND path = ?3 AND name = ?4",
    )?;
    for change in changes {
        match change {
            CookieChange::Set(cookie) => set.execute(params![
                partition,
                cookie.key.domain,
                cookie.key.path,
                cookie.key.name,
                cookie.set_cookie,
                cookie.url,
                cookie.created_at_ms,
                cookie.expires_at_ms,
            ])?,
            CookieChange::Removed(key) => {
                remove.execute(params![partition, key.domain, key.path, key.name])?
            }
        };
    }
    Ok(())
}
