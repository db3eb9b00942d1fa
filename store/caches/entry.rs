//! What a cache holds, and when an entry answers a request.
//! Invariant: `CacheQuery::accepts` is pure; no other code decides whether headers match.

use crate::columns::{row_id, text_enum};

row_id! {
    /// One cache of an origin. Never used again, even after the cache is gone.
    CacheId
}

row_id! {
    /// The file that holds a body, which [`BodyFolder`](super::BodyFolder) finds.
    BodyId
}

text_enum! {
    /// <https://fetch.spec.whatwg.org/#concept-response-type>
    ResponseType {
        /// Of the same origin.
        Basic = "basic",
        /// Of another origin that allowed it.
        Cors = "cors",
        /// Made by a script.
        Default = "default",
        /// A network error.
        Error = "error",
        /// Of another origin; the script cannot look into it.
        Opaque = "opaque",
        /// A redirect that was not followed.
        OpaqueRedirect = "opaqueredirect",
    }
}

/// Names and values in order, as a script or a server gave them.
pub type HeaderList = Vec<(String, String)>;

/// The request of an entry. Its method is GET: nothing else can be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRequest {
    /// The URL, with its fragment.
    pub url: String,
    /// The header list.
    pub headers: HeaderList,
}

/// The response of an entry, as it was before filters hid parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryResponse {
    /// The type, which says what a script may see.
    pub response_type: ResponseType,
    /// Every URL on the way, the final one last.
    pub url_list: Vec<String>,
    /// The status.
    pub status: u16,
    /// The status message.
    pub status_text: String,
    /// The header list.
    pub headers: HeaderList,
    /// The body.
    pub body: EntryBody,
}

/// The body of a [`EntryResponse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryBody {
    /// The response has none.
    Null,
    /// A small one, kept in the database.
    Inline(Vec<u8>),
    /// One in a file, which is on disk before the entry is put.
    File {
        /// Its name.
        id: BodyId,
        /// Its length in bytes.
        size: u64,
    },
}

impl EntryBody {
    /// The length in bytes; `None` for a response without a body.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Null => None,
            Self::Inline(bytes) => Some(bytes.len() as u64),
            Self::File { size, .. } => Some(*size),
        }
    }
}

/// A request and its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The request.
    pub request: EntryRequest,
    /// The field names that the response's `Vary` header has, as far as a script can see it.
    pub vary: Vec<String>,
    /// The response.
    pub response: EntryResponse,
}

/// What entries are looked for: <https://w3c.github.io/ServiceWorker/#query-cache>. The method was
/// compared by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheQuery {
    /// The request that entries have to match.
    pub request: EntryRequest,
    /// Entries may have another query component, or none.
    pub ignore_search: bool,
    /// Entries match whatever headers their responses depend on.
    pub ignore_vary: bool,
}

impl CacheQuery {
    /// Whether a request with a response that varies so is what is looked for:
    /// <https://w3c.github.io/ServiceWorker/#request-matches-cached-item>, but for the method.
    pub fn matches(&self, request: &EntryRequest, vary: &[String]) -> bool {
        let (wanted, cached) = (&self.request.url, &request.url);
        let is_same_url = match self.ignore_search {
            true => searchless_url(wanted) == searchless_url(cached),
            false => key_url(wanted) == key_url(cached),
        };
        is_same_url && self.accepts(vary, &request.headers)
    }

    /// The last steps of <https://w3c.github.io/ServiceWorker/#request-matches-cached-item>.
    pub(super) fn accepts(&self, vary: &[String], cached: &HeaderList) -> bool {
        self.ignore_vary
            || vary
                .iter()
                .all(|name| combined(&self.request.headers, name) == combined(cached, name))
    }
}

/// Whether the two could not be in one cache: each put would replace the other.
pub(super) fn are_duplicates(one: &CacheEntry, other: &CacheEntry) -> bool {
    let same = |names: &[String]| {
        names.iter().all(|name| {
            combined(&one.request.headers, name) == combined(&other.request.headers, name)
        })
    };
    key_url(&one.request.url) == key_url(&other.request.url)
        && (same(&one.vary) || same(&other.vary))
}

/// <https://fetch.spec.whatwg.org/#concept-header-list-get>
fn combined(headers: &HeaderList, name: &str) -> Option<String> {
    let own = headers.iter().filter(|(each, _)| each.eq_ignore_ascii_case(name));
    let values: Vec<&str> = own.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The URL without its fragment.
pub(super) fn key_url(url: &str) -> &str {
    url.split_once('#').map_or(url, |(before, _)| before)
}

/// The URL without its query component and fragment.
pub(super) fn searchless_url(url: &str) -> &str {
    let url = key_url(url);
    url.split_once('?').map_or(url, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(headers: &[(&str, &str)]) -> HeaderList {
        headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn query(headers: &[(&str, &str)]) -> CacheQuery {
        CacheQuery {
            request: EntryRequest { url: "https://app.test/".into(), headers: list(headers) },
            ignore_search: false,
            ignore_vary: false,
        }
    }

    #[test]
    fn headers_matter_as_far_as_the_response_varies_with_them() {
        let vary = ["Accept-Language".to_owned()];
        let cached = list(&[("accept-language", "de"), ("Accept-Language", "en")]);
        assert!(query(&[("ACCEPT-LANGUAGE", "de, en"), ("x", "y")]).accepts(&vary, &cached));
        assert!(!query(&[("accept-language", "de")]).accepts(&vary, &cached));
        assert!(!query(&[]).accepts(&vary, &list(&[("accept-language", "")])));
        assert!(query(&[]).accepts(&[], &cached));
        assert!(CacheQuery { ignore_vary: true, ..query(&[]) }.accepts(&vary, &cached));
    }

    #[test]
    fn a_url_loses_its_fragment_before_its_query() {
        assert_eq!(key_url("https://a.test/?b#c?d"), "https://a.test/?b");
        assert_eq!(searchless_url("https://a.test/?b#c"), "https://a.test/");
        assert_eq!(searchless_url("https://a.test/#c?d"), "https://a.test/");
    }
}
