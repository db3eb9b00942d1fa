//! Why there is no new worker, in Chromium's words for scripts and with its cause for the operator.
//!
//! Invariant: a script hears nothing of what a server or another script said.

use std::sync::Arc;

use kittiwake_ops::{OpError, ScriptException};
use kittiwake_store::StoreError;

use crate::fetch::FetchError;
use crate::http::HttpError;

/// Why a worker was not registered.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// Its script cannot be had, does not run, or must not have this scope.
    #[error("{prefix}: {reason}")]
    Refused {
        kind: Refusal,
        /// `Failed to register a ServiceWorker`, and for what: Chromium says it in every message.
        prefix: String,
        /// What went wrong, in Chromium's words.
        reason: String,
        /// What only the operator may know.
        cause: Option<Box<ScriptException>>,
    },
    /// The install event failed.
    #[error("the install event failed: {cause}")]
    InstallFailed { cause: Box<ScriptException> },
    /// The store failed.
    #[error("{0}")]
    Store(Arc<StoreError>),
}

/// What a script gets for a refused registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TypeError,
    SecurityError,
    InvalidState,
}

/// What every refusal of one job begins with: `Failed to register a ServiceWorker for ...`.
#[derive(Clone, Debug)]
pub(super) struct About(String);

impl About {
    pub(super) fn registering(scope: &str, script: &str) -> About {
        About(format!(
            "Failed to register a ServiceWorker for scope ('{scope}') with script ('{script}')"
        ))
    }

    pub(super) fn updating(scope: &str, script: &str) -> About {
        About(format!(
            "Failed to update a ServiceWorker for scope ('{scope}') with script ('{script}')"
        ))
    }

    /// A `TypeError`.
    pub(super) fn failed(&self, reason: &str, cause: Option<ScriptException>) -> RegisterError {
        self.refused(Refusal::TypeError, reason, cause)
    }

    /// A `SecurityError`.
    pub(super) fn forbidden(&self, reason: &str) -> RegisterError {
        self.refused(Refusal::SecurityError, reason, None)
    }

    /// An `InvalidStateError`.
    pub(super) fn invalid_state(&self) -> RegisterError {
        self.refused(Refusal::InvalidState, "The object is in an invalid state.", None)
    }

    pub(super) fn unfetched(&self, error: &FetchError) -> RegisterError {
        if matches!(error, FetchError::Http(HttpError::RedirectForbidden { .. })) {
            return self
                .forbidden("The script resource is behind a redirect, which is disallowed.");
        }
        let cause = super::plain_exception(error.to_string());
        self.failed("An unknown error occurred when fetching the script.", Some(cause))
    }

    fn refused(
        &self,
        kind: Refusal,
        reason: &str,
        cause: Option<ScriptException>,
    ) -> RegisterError {
        let (prefix, reason) = (self.0.clone(), reason.to_owned());
        RegisterError::Refused { kind, prefix, reason, cause: cause.map(Box::new) }
    }
}

/// A refusal before the script is asked for.
pub(crate) fn refused(kind: Refusal, reason: String) -> RegisterError {
    let prefix = "Failed to register a ServiceWorker".to_owned();
    RegisterError::Refused { kind, prefix, reason, cause: None }
}

impl From<RegisterError> for OpError {
    fn from(error: RegisterError) -> Self {
        match &error {
            RegisterError::Refused { kind: Refusal::TypeError, .. } => {
                OpError::RegistrationFailed(error.to_string())
            }
            RegisterError::Refused { kind: Refusal::SecurityError, .. } => {
                OpError::RegistrationForbidden(error.to_string())
            }
            RegisterError::Refused { kind: Refusal::InvalidState, .. } => {
                OpError::UpdateInInvalidState(error.to_string())
            }
            RegisterError::InstallFailed { .. } | RegisterError::Store(_) => OpError::StorageFailed,
        }
    }
}
