//! Badges and the content index: what an app shows outside of its pages.
//! <https://w3c.github.io/badging/>, <https://wicg.github.io/content-index/spec/>

use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// What the app's icon shows: <https://w3c.github.io/badging/#dfn-badge>
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Badge {
    /// Nothing.
    Nothing,
    /// A mark without a number.
    Flag,
    /// A number above 0.
    Number(f64),
}

/// <https://wicg.github.io/content-index/spec/#dictdef-contentdescription>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the members of ContentDescription, by their names")]
pub struct ContentDescription {
    pub id: String,
    pub title: String,
    pub description: String,
    pub category: String,
    pub icons: Vec<ImageResource>,
    pub url: String,
    /// The URL, absolute; only as long as it is being added.
    #[serde(rename = "launchUrl", default, skip_serializing)]
    pub launch_url: String,
}

/// <https://www.w3.org/TR/image-resource/#dom-imageresource>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the members of ImageResource, by their names")]
pub struct ImageResource {
    pub src: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

/// The part of [`Services`](crate::Services) that shows what an app is worth opening for.
pub trait ContentServices {
    /// Sets what the icon of the realm's origin shows.
    fn badge_set(&self, realm: RealmId, badge: Badge);
    /// Keeps an entry, in the place of the registration's one with its id. On disk when this
    /// returns.
    fn content_add(
        &self,
        realm: RealmId,
        scope: &str,
        description: ContentDescription,
    ) -> Result<(), OpError>;
    /// Takes an entry away, if there is one. On disk when this returns.
    fn content_delete(&self, realm: RealmId, scope: &str, id: &str) -> Result<(), OpError>;
    /// The registration's entries, by their ids.
    fn contents(&self, realm: RealmId, scope: &str) -> Result<Vec<ContentDescription>, OpError>;
}

/// `NavigatorBadge.setAppBadge()` and `clearAppBadge()`: 0 clears, a negative number is the flag.
#[op2(fast)]
pub fn op_badge_set(state: &mut OpState, contents: f64) {
    let (services, realm) = Host::of(state);
    let badge = match contents {
        0.0 => Badge::Nothing,
        number if number < 0.0 => Badge::Flag,
        number => Badge::Number(number),
    };
    services.badge_set(realm, badge);
}

/// `ContentIndex.add(description)`.
#[op2]
pub fn op_content_add(
    state: &mut OpState,
    #[string] scope: &str,
    #[serde] description: ContentDescription,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.content_add(realm, scope, description)
}

/// `ContentIndex.delete(id)`.
#[op2(fast)]
pub fn op_content_delete(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] id: &str,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.content_delete(realm, scope, id)
}

/// `ContentIndex.getAll()`.
#[op2]
#[serde]
pub fn op_content_all(
    state: &mut OpState,
    #[string] scope: &str,
) -> Result<Vec<ContentDescription>, OpError> {
    let (services, realm) = Host::of(state);
    services.contents(realm, scope)
}
