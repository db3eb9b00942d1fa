//! Referrer policies: <https://w3c.github.io/webappsec-referrer-policy/>
//!
//! Invariant: pure; a referrer has no fragment and no credentials.

use serde::Serialize;
use url::Url;

use super::{Referrer, Request};
use crate::http::is_loopback;

/// <https://w3c.github.io/webappsec-referrer-policy/#referrer-policies>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReferrerPolicy {
    NoReferrer,
    NoReferrerWhenDowngrade,
    SameOrigin,
    Origin,
    StrictOrigin,
    OriginWhenCrossOrigin,
    StrictOriginWhenCrossOrigin,
    UnsafeUrl,
}

impl ReferrerPolicy {
    /// <https://w3c.github.io/webappsec-referrer-policy/#default-referrer-policy>
    pub(crate) const DEFAULT: ReferrerPolicy = ReferrerPolicy::StrictOriginWhenCrossOrigin;

    /// By its name; `None` for any other text, the empty one included.
    pub(crate) fn parse(name: &str) -> Option<ReferrerPolicy> {
        Some(match name {
            "no-referrer" => ReferrerPolicy::NoReferrer,
            "no-referrer-when-downgrade" => ReferrerPolicy::NoReferrerWhenDowngrade,
            "same-origin" => ReferrerPolicy::SameOrigin,
            "origin" => ReferrerPolicy::Origin,
            "strict-origin" => ReferrerPolicy::StrictOrigin,
            "origin-when-cross-origin" => ReferrerPolicy::OriginWhenCrossOrigin,
            "strict-origin-when-cross-origin" => ReferrerPolicy::StrictOriginWhenCrossOrigin,
            "unsafe-url" => ReferrerPolicy::UnsafeUrl,
            _ => return None,
        })
    }

    /// The last policy that is known of a `referrer-policy` header.
    pub(crate) fn last(value: &str) -> Option<ReferrerPolicy> {
        value.split(',').filter_map(|name| ReferrerPolicy::parse(name.trim())).next_back()
    }
}

/// What is said in the `referer` header to the request's current URL:
/// <https://w3c.github.io/webappsec-referrer-policy/#determine-requests-referrer>
pub(super) fn referrer_of(request: &Request) -> Option<String> {
    let Referrer::Url(source) = &request.referrer else { return None };
    if !matches!(source.scheme(), "http" | "https") {
        return None;
    }
    let origin = format!("{}/", source.origin().ascii_serialization());
    let mut full = source.clone();
    full.set_fragment(None);
    let (Ok(()), Ok(())) = (full.set_username(""), full.set_password(None)) else { return None };
    let mut full = String::from(full);
    if full.len() > 4096 {
        full.clone_from(&origin);
    }
    let target = request.url();
    let is_same_origin = source.origin() == target.origin();
    let is_downgrade = is_trustworthy(source) && !is_trustworthy(target);
    match request.referrer_policy {
        ReferrerPolicy::NoReferrer => None,
        ReferrerPolicy::UnsafeUrl => Some(full),
        ReferrerPolicy::Origin => Some(origin),
        ReferrerPolicy::SameOrigin => is_same_origin.then_some(full),
        ReferrerPolicy::StrictOrigin => (!is_downgrade).then_some(origin),
        ReferrerPolicy::NoReferrerWhenDowngrade => (!is_downgrade).then_some(full),
        ReferrerPolicy::OriginWhenCrossOrigin if is_same_origin => Some(full),
        ReferrerPolicy::OriginWhenCrossOrigin => Some(origin),
        ReferrerPolicy::StrictOriginWhenCrossOrigin if is_same_origin => Some(full),
        ReferrerPolicy::StrictOriginWhenCrossOrigin => (!is_downgrade).then_some(origin),
    }
}

/// <https://w3c.github.io/webappsec-secure-contexts/#is-url-trustworthy>
pub(super) fn is_trustworthy(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::tests::request;

    fn referrer(policy: &str, target: &str) -> Option<String> {
        let mut request = request("GET", target);
        let source = Url::parse("https://u:p@a.test/page?q#part").unwrap();
        request.referrer = Referrer::Url(source);
        request.referrer_policy = ReferrerPolicy::parse(policy).unwrap();
        referrer_of(&request)
    }

    #[test]
    fn a_policy_tells_all_the_origin_or_nothing() {
        let (all, origin) = (Some("https://a.test/page?q"), Some("https://a.test/"));
        for (policy, same, cross, downgrade) in [
            ("no-referrer", None, None, None),
            ("no-referrer-when-downgrade", all, all, None),
            ("same-origin", all, None, None),
            ("origin", origin, origin, origin),
            ("strict-origin", origin, origin, None),
            ("origin-when-cross-origin", all, origin, origin),
            ("strict-origin-when-cross-origin", all, origin, None),
            ("unsafe-url", all, all, all),
        ] {
            let told = |target| referrer(policy, target);
            assert_eq!(told("https://a.test/x").as_deref(), same, "{policy}");
            assert_eq!(told("https://b.test/x").as_deref(), cross, "{policy}");
            assert_eq!(told("http://b.test/x").as_deref(), downgrade, "{policy}");
        }
    }

    #[test]
    fn the_last_policy_that_is_known_holds() {
        let last = ReferrerPolicy::last("origin, no-referrer, new-policy");
        assert_eq!(last, Some(ReferrerPolicy::NoReferrer));
        assert_eq!(ReferrerPolicy::last("new-policy"), None);
    }
}
