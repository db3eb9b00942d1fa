//! Cookies: <https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html>
//!
//! Each partition has a jar of its own. What matches a URL is `cookie_store`'s to say; when a
//! cookie ends is said here, by the clock door. Cookies without an end live as long as the process.
//!
//! Invariant: a cookie goes only where its attributes let it, and no script sees one that is
//! `HttpOnly`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cookie_store::{CookieStore, RawCookie};
use kittiwake_ops::{CookieItem, CookieToSet};
use kittiwake_store::{CookieChange, CookieKey, StoredCookie};
use url::Url;

use super::network::SiteRelation;
use super::referrer::is_trustworthy;

/// <https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html#section-5.5>
const LONGEST_LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;
const LONGEST_PAIR: usize = 4096;
/// Chromium's limit for one site, here for a jar; the oldest make room.
const COOKIES_AT_MOST: usize = 3000;

/// The cookies of one partition.
#[derive(Default)]
pub(crate) struct Jar {
    cookies: CookieStore,
    known: BTreeMap<CookieKey, Known>,
    set: u64,
    observed: Vec<CookieObserved>,
}

/// What happened to a cookie that a script may see.
pub(crate) struct CookieObserved {
    pub(crate) item: CookieItem,
    pub(crate) deleted: bool,
    cookie: cookie_store::Cookie<'static>,
}

impl CookieObserved {
    /// Whether it is sent to `url`.
    pub(crate) fn matches(&self, url: &Url) -> bool {
        self.cookie.matches(url)
    }
}

struct Known {
    /// Which one came first.
    order: u64,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
}

impl Jar {
    /// A jar with what the store has of it.
    pub(crate) fn with(stored: Vec<StoredCookie>) -> Jar {
        let mut jar = Jar::default();
        for cookie in stored {
            let (Ok(url), Ok(raw)) = (Url::parse(&cookie.url), parse(&cookie.set_cookie)) else {
                continue;
            };
            jar.insert(raw, &url, Some(cookie.expires_at_ms), cookie.created_at_ms);
        }
        jar
    }

    /// The `cookie` header of a request; `None` without a cookie for it.
    pub(crate) fn header(
        &mut self,
        url: &Url,
        relation: SiteRelation,
        now_ms: i64,
    ) -> Option<String> {
        self.forget_ended(now_ms);
        let mut matches = self.sent_to(url);
        matches.retain(|cookie| goes_to(cookie, relation));
        let pairs = matches.iter().map(|cookie| match cookie.name_value() {
            ("", value) => value.to_owned(),
            (name, value) => format!("{name}={value}"),
        });
        let header = pairs.collect::<Vec<_>>().join("; ");
        // A header's value is bytes: https://infra.spec.whatwg.org/#isomorphic-decode
        (!header.is_empty()).then(|| header.bytes().map(char::from).collect())
    }

    fn sent_to(&self, url: &Url) -> Vec<&cookie_store::Cookie<'static>> {
        let mut matches = self.cookies.matches(url);
        // Longer paths first, then the older ones.
        matches.sort_by_key(|cookie| {
            let path = String::from(&cookie.path);
            let order = self.known.get(&key_of(cookie)).map_or(0, |known| known.order);
            (std::cmp::Reverse(path.len()), order)
        });
        matches
    }

    fn current(&self, key: &CookieKey) -> Option<cookie_store::Cookie<'static>> {
        let found = self.cookies.get(&key.domain, &key.path, &key.name)?;
        Some(found.clone().into_owned())
    }

    fn item(&self, cookie: &cookie_store::Cookie<'_>) -> CookieItem {
        let known = self.known.get(&key_of(cookie));
        CookieItem {
            name: cookie.name().to_owned(),
            value: cookie.value().to_owned(),
            domain: match &cookie.domain {
                cookie_store::CookieDomain::Suffix(domain) => Some(domain.clone()),
                _ => None,
            },
            path: String::from(&cookie.path),
            expires: known.and_then(|known| known.expires_at_ms),
            same_site: match cookie.same_site() {
                Some(same_site) if same_site.is_strict() => "strict",
                Some(same_site) if same_site.is_none() => "none",
                _ => "lax",
            },
            secure: cookie.secure() == Some(true),
        }
    }

    /// <https://wicg.github.io/cookie-store/#observable-changes>
    fn observe(
        &mut self,
        key: &CookieKey,
        before: Option<(CookieItem, cookie_store::Cookie<'static>)>,
        deleted: bool,
    ) {
        let Some(now) = self.current(key) else { return };
        let (item, cookie) = match (deleted, before) {
            (true, None) => return,
            (true, Some(before)) => before,
            (false, before) => {
                let item = self.item(&now);
                if before.is_some_and(|(before, _)| before == item) {
                    return;
                }
                (item, now)
            }
        };
        if cookie.http_only() != Some(true) {
            self.observed.push(CookieObserved { item, deleted, cookie });
        }
    }

    /// Takes the `set-cookie` headers of a response; answers what of it must outlive the process.
    pub(crate) fn take<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a str>,
        url: &Url,
        relation: SiteRelation,
        now_ms: i64,
    ) -> Vec<CookieChange> {
        let changes = headers.filter_map(|header| self.take_one(header, url, relation, now_ms));
        changes.collect()
    }

    fn take_one(
        &mut self,
        header: &str,
        url: &Url,
        relation: SiteRelation,
        now_ms: i64,
    ) -> Option<CookieChange> {
        let header = as_utf8(header);
        let raw = parse(&header).ok().filter(|raw| may_be_set(raw, url, relation))?;
        let expires_at_ms = expiry(&raw, now_ms);
        self.keep(raw, &header, url, expires_at_ms, now_ms)
    }

    /// The cookies that a script at `url` may see, in the order in which they are sent.
    pub(crate) fn list(&mut self, url: &Url, now_ms: i64) -> Vec<CookieItem> {
        self.forget_ended(now_ms);
        let mut cookies = self.sent_to(url);
        cookies.retain(|cookie| cookie.http_only() != Some(true));
        let item = |cookie: &&cookie_store::Cookie<'static>| self.item(cookie);
        cookies.iter().map(item).collect()
    }

    /// Sets a cookie as a script wants it; `None` if it may not be set.
    pub(crate) fn set_by_script(
        &mut self,
        cookie: &CookieToSet,
        url: &Url,
        now_ms: i64,
    ) -> Option<CookieChange> {
        let CookieToSet { name, value, domain, path, same_site, .. } = cookie;
        let is_lost = |text: &String| text.contains(';') || text.contains(is_control);
        let texts = [name, value, path].into_iter().chain(domain);
        if texts.into_iter().any(is_lost) {
            return None;
        }
        let mut header = format!("{name}={value}; Path={path}; SameSite={same_site}; Secure");
        if let Some(domain) = domain {
            header += &format!("; Domain={domain}");
        }
        let raw = parse(&header).ok()?;
        if !may_be_set(&raw, url, SiteRelation::SameOrigin) {
            return None;
        }
        let set = cookie_store::Cookie::try_from_raw_cookie(&raw, url).ok()?;
        let before = self.current(&key_of(&set));
        if before.is_some_and(|before| before.http_only() == Some(true)) {
            return None;
        }
        let longest = now_ms + LONGEST_LIFE_MS;
        let expires_at_ms = cookie.expires.map(|end| end.min(longest));
        self.keep(raw, &header, url, expires_at_ms, now_ms)
    }

    /// What happened since this was last asked.
    pub(crate) fn observed(&mut self) -> Vec<CookieObserved> {
        std::mem::take(&mut self.observed)
    }

    fn keep(
        &mut self,
        raw: RawCookie<'static>,
        header: &str,
        url: &Url,
        expires_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<CookieChange> {
        self.forget_ended(now_ms);
        let set = cookie_store::Cookie::try_from_raw_cookie(&raw, url).ok()?;
        let before = self.current(&key_of(&set));
        let before = before.map(|cookie| (self.item(&cookie), cookie));
        let key = self.insert(raw, url, expires_at_ms, now_ms)?;
        self.observe(&key, before, expires_at_ms.is_some_and(|end| end <= now_ms));
        let is_over = expires_at_ms.is_some_and(|end| end <= now_ms);
        if is_over || expires_at_ms.is_none() {
            if is_over {
                self.remove(&key);
            }
            // One that was on disk may be in the way.
            return Some(CookieChange::Removed(key));
        }
        let created_at_ms = self.known.get(&key)?.created_at_ms;
        self.forget_oldest();
        Some(CookieChange::Set(StoredCookie {
            key,
            set_cookie: header.to_owned(),
            url: url.to_string(),
            created_at_ms,
            expires_at_ms: expires_at_ms?,
        }))
    }

    fn insert(
        &mut self,
        mut raw: RawCookie<'static>,
        url: &Url,
        expires_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<CookieKey> {
        // The jar must not ask the machine's clock.
        raw.set_max_age(None);
        raw.unset_expires();
        let cookie = cookie_store::Cookie::try_from_raw_cookie(&raw, url).ok()?.into_owned();
        let key = key_of(&cookie);
        self.cookies.insert(cookie, url).ok()?;
        self.set += 1;
        let fresh = Known { order: self.set, created_at_ms: now_ms, expires_at_ms };
        let known = self.known.entry(key.clone()).or_insert(fresh);
        known.expires_at_ms = expires_at_ms;
        Some(key)
    }

    fn remove(&mut self, key: &CookieKey) {
        self.known.remove(key);
        self.cookies.remove(&key.domain, &key.path, &key.name);
    }

    fn forget_ended(&mut self, now_ms: i64) {
        let is_over = |known: &Known| known.expires_at_ms.is_some_and(|end| end <= now_ms);
        let ended = self.known.iter().filter(|(_, known)| is_over(known));
        let ended: Vec<CookieKey> = ended.map(|(key, _)| key.clone()).collect();
        ended.iter().for_each(|key| self.remove(key));
    }

    fn forget_oldest(&mut self) {
        while self.known.len() > COOKIES_AT_MOST {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.order);
            let oldest = oldest.map(|(key, _)| key.clone()).expect("invariant: it is not empty");
            self.remove(&oldest);
        }
    }
}

fn parse(header: &str) -> Result<RawCookie<'static>, ()> {
    if header.contains(is_control) {
        return Err(());
    }
    let pair = header.split(';').next().unwrap_or_default();
    match pair.split_once('=') {
        Some((name, _)) if !name.trim().is_empty() => {
            RawCookie::parse(header.to_owned()).map_err(|_| ())
        }
        // A cookie without a name, which the parser does not know.
        has_name => {
            let equals = if has_name.is_some() { "" } else { "=" };
            let named = RawCookie::parse(format!("name{equals}{}", header.trim_start()));
            let mut cookie = named.map_err(|_| ())?;
            cookie.set_name("");
            if cookie.value().is_empty() { Err(()) } else { Ok(cookie) }
        }
    }
}

/// What a server means by the bytes of a header's value, which come as one character each.
fn as_utf8(header: &str) -> Cow<'_, str> {
    let bytes: Option<Vec<u8>> = header.chars().map(|c| u8::try_from(c).ok()).collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) if text.len() < header.len() => Cow::Owned(text),
        _ => Cow::Borrowed(header),
    }
}

fn is_control(c: char) -> bool {
    c.is_ascii_control() && c != '\t'
}

fn key_of(cookie: &cookie_store::Cookie<'_>) -> CookieKey {
    CookieKey {
        domain: String::from(&cookie.domain),
        path: String::from(&cookie.path),
        name: cookie.name().to_owned(),
    }
}

/// <https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html#name-storage-model>
fn may_be_set(raw: &RawCookie<'_>, url: &Url, relation: SiteRelation) -> bool {
    let is_secure = raw.secure() == Some(true);
    let is_host_prefixed = has_prefix(raw.name(), "__host-");
    if raw.name().len() + raw.value().len() > LONGEST_PAIR {
        return false;
    }
    if is_secure && !is_trustworthy(url) {
        return false;
    }
    if (is_host_prefixed || has_prefix(raw.name(), "__secure-")) && !is_secure {
        return false;
    }
    if is_host_prefixed && (raw.domain().is_some() || raw.path() != Some("/")) {
        return false;
    }
    // A domain without a dot is nobody's own.
    let domain = raw.domain().unwrap_or_default().trim_start_matches('.');
    if !domain.is_empty() && !domain.contains('.') && url.host_str() != Some(domain) {
        return false;
    }
    goes_to(raw, relation)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a cookie crosses from one site to another: `SameSite`, whose default is `Lax`.
fn goes_to(cookie: &RawCookie<'_>, relation: SiteRelation) -> bool {
    let crosses = cookie.same_site().is_some_and(|same_site| same_site.is_none());
    relation != SiteRelation::CrossSite || (crosses && cookie.secure() == Some(true))
}

/// When a cookie ends; `None` if it ends with the process.
fn expiry(raw: &RawCookie<'_>, now_ms: i64) -> Option<i64> {
    let life_ms = match (raw.max_age(), raw.expires_datetime()) {
        (Some(max_age), _) => {
            i64::try_from(max_age.whole_milliseconds()).unwrap_or(LONGEST_LIFE_MS)
        }
        (None, Some(expires)) => expires.unix_timestamp().saturating_mul(1000) - now_ms,
        (None, None) => return None,
    };
    Some(now_ms + life_ms.clamp(0, LONGEST_LIFE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: SiteRelation = SiteRelation::SameOrigin;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn set(jar: &mut Jar, header: &str, now_ms: i64) -> Vec<CookieChange> {
        jar.take(std::iter::once(header), &url("https://app.test/a/b"), SAME, now_ms)
    }

    fn sent(jar: &mut Jar, to: &str, now_ms: i64) -> Option<String> {
        jar.header(&url(to), SAME, now_ms)
    }

    #[test]
    fn cookies_go_back_in_order_to_where_they_match() {
        let mut jar = Jar::default();
        set(&mut jar, "one=1; Path=/", 0);
        set(&mut jar, "two=2", 0);
        set(&mut jar, "three=3; Domain=app.test; Path=/; Secure", 0);
        let here = sent(&mut jar, "https://app.test/a/c", 0);
        assert_eq!(here.as_deref(), Some("two=2; one=1; three=3"));
        let below = sent(&mut jar, "https://www.app.test/a/", 0);
        assert_eq!(below.as_deref(), Some("three=3"));
        assert_eq!(sent(&mut jar, "http://app.test/", 0).as_deref(), Some("one=1"));
        assert_eq!(sent(&mut jar, "https://other.test/", 0), None);
    }

    #[test]
    fn a_cookie_ends_by_the_clock_that_it_is_given() {
        let mut jar = Jar::default();
        let stored = set(&mut jar, "a=1; Max-Age=10; Path=/", 5_000);
        let [CookieChange::Set(stored)] = &stored[..] else { panic!("{stored:?}") };
        assert_eq!(stored.expires_at_ms, 15_000);
        let mut again = Jar::with(vec![stored.clone()]);
        for jar in [&mut jar, &mut again] {
            assert_eq!(sent(jar, "https://app.test/", 14_999).as_deref(), Some("a=1"));
            assert_eq!(sent(jar, "https://app.test/", 15_000), None);
        }
        set(&mut jar, "b=1; Path=/", 0);
        let gone = set(&mut jar, "b=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 1);
        assert!(matches!(&gone[..], [CookieChange::Removed(_)]), "{gone:?}");
        assert_eq!(sent(&mut jar, "https://app.test/", 2), None);
    }

    #[test]
    fn only_cookies_that_say_so_cross_sites() {
        let mut jar = Jar::default();
        set(&mut jar, "lax=1; Path=/", 0);
        set(&mut jar, "none=1; Path=/; SameSite=None; Secure", 0);
        let other = SiteRelation::CrossSite;
        let crossed = jar.header(&url("https://app.test/"), other, 0);
        assert_eq!(crossed.as_deref(), Some("none=1"));
        let headers = ["x=1", "y=1; SameSite=None; Secure"].into_iter();
        assert_eq!(jar.take(headers, &url("https://b.test/"), other, 0).len(), 1);
    }

    #[test]
    fn a_script_sees_and_changes_no_cookie_that_is_for_http_only() {
        let mut jar = Jar::default();
        set(&mut jar, "seen=1; Path=/", 0);
        set(&mut jar, "hidden=1; Path=/; HttpOnly", 0);
        let here = url("https://app.test/");
        let names = |jar: &mut Jar| -> Vec<String> {
            jar.list(&here, 0).into_iter().map(|item| item.name).collect()
        };
        assert_eq!(names(&mut jar), ["seen"]);
        assert_eq!(jar.observed().len(), 1);
        let cookie = |name: &str, expires| CookieToSet {
            name: name.into(),
            value: "2".into(),
            domain: None,
            path: "/".into(),
            expires,
            same_site: "strict".into(),
        };
        assert_eq!(jar.set_by_script(&cookie("hidden", None), &here, 0), None);
        let stored = jar.set_by_script(&cookie("seen", Some(10)), &here, 0);
        assert!(matches!(&stored, Some(CookieChange::Set(_))), "{stored:?}");
        assert_eq!(sent(&mut jar, "https://app.test/", 0).as_deref(), Some("seen=2; hidden=1"));
        // The same again is no change.
        jar.set_by_script(&cookie("seen", Some(10)), &here, 0);
        jar.set_by_script(&cookie("seen", Some(0)), &here, 0);
        let observed: Vec<_> = jar.observed().iter().map(|each| each.deleted).collect();
        assert_eq!((observed, names(&mut jar)), (vec![false, true], vec![]));
    }

    #[test]
    fn what_a_server_may_not_set_is_ignored() {
        let mut jar = Jar::default();
        for header in [
            "a=1; Domain=other.test",
            "a=1; Domain=test",
            "__Secure-a=1",
            "__Host-a=1; Secure; Path=/; Domain=app.test",
            "a=\u{1}",
        ] {
            assert_eq!(set(&mut jar, header, 0), [], "{header}");
        }
        let insecure = jar.take(std::iter::once("a=1; Secure"), &url("http://app.test/"), SAME, 0);
        assert_eq!(insecure, []);
        assert_eq!(set(&mut jar, &format!("a={}", "x".repeat(4096)), 0), []);
        assert_eq!(sent(&mut jar, "https://app.test/a/", 0), None);
    }
}
