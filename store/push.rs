//! Push subscriptions on disk.
//!
//! Invariant: a registration has one at most, and it goes with the registration.

use rusqlite::{OptionalExtension, Row, params};

use crate::{RegistrationId, Store, StoreError};

/// A push subscription with its keys: <https://w3c.github.io/push-api/#dfn-push-subscription>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSubscription {
    /// Whose it is.
    pub registration: RegistrationId,
    /// The part of the endpoint that names it.
    pub token: String,
    /// The P-256 point of whoever may send, uncompressed.
    pub application_server_key: Vec<u8>,
    /// The P-256 scalar that decrypts: <https://www.rfc-editor.org/rfc/rfc8291#section-3.1>
    pub private_key: Vec<u8>,
    /// The authentication secret: <https://www.rfc-editor.org/rfc/rfc8291#section-3.2>
    pub auth: Vec<u8>,
}

const COLUMNS: &str = "registration_id, token, application_server_key, private_key, auth";

impl Store {
    /// Keeps a subscription, in the place of the registration's earlier one.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn push_subscribe(&self, subscription: &PushSubscription) -> Result<(), StoreError> {
        self.write(|transaction| {
            let insert = format!(
                "INSERT OR REPLACE INTO push_subscriptions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"
            );
            transaction.prepare_cached(&insert)?.execute(params![
                subscription.registration,
                subscription.token,
                subscription.application_server_key,
                subscription.private_key,
                subscription.auth,
            ])?;
            Ok(())
        })
    }

    /// A registration's subscription.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn push_subscription(
        &self,
        registration: RegistrationId,
    ) -> Result<Option<PushSubscription>, StoreError> {
        self.read(|connection| {
            let select =
                format!("SELECT {COLUMNS} FROM push_subscriptions WHERE registration_id = ?1");
            let mut select = connection.prepare_cached(&select)?;
            Ok(select.query_row([registration], subscription_of).optional()?)
        })
    }

    /// The subscription that an endpoint names.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn push_subscription_by_token(
        &self,
        token: &str,
    ) -> Result<Option<PushSubscription>, StoreError> {
        self.read(|connection| {
            let select = format!("SELECT {COLUMNS} FROM push_subscriptions WHERE token = ?1");
            let mut select = connection.prepare_cached(&select)?;
            Ok(select.query_row([token], subscription_of).optional()?)
        })
    }

    /// Ends a registration's subscription, and answers it if there was one.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn push_unsubscribe(
        &self,
        registration: RegistrationId,
    ) -> Result<Option<PushSubscription>, StoreError> {
        self.write(|transaction| {
            let delete = format!(
                "DELETE FROM push_subscriptions WHERE registration_id = ?1 RETURNING {COLUMNS}"
            );
            let mut delete = transaction.prepare_cached(&delete)?;
            Ok(delete.query_row([registration], subscription_of).optional()?)
        })
    }
}

fn subscription_of(row: &Row<'_>) -> rusqlite::Result<PushSubscription> {
    Ok(PushSubscription {
        registration: row.get(0)?,
        token: row.get(1)?,
        application_server_key: row.get(2)?,
        private_key: row.get(3)?,
        auth: row.get(4)?,
    })
}
