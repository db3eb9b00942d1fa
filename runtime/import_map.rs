//! Import maps: <https://html.spec.whatwg.org/#import-maps>
//!
//! Invariant: what an earlier map of a document says, a later one does not change.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use crate::realm::{resolve_url, unresolved};

/// What a document's import maps say together.
#[derive(Debug, Default)]
pub(crate) struct ImportMap {
    imports: SpecifierMap,
    /// By the prefix of the scripts' URLs, the longest first.
    scopes: BTreeMap<Reverse<String>, SpecifierMap>,
}

/// By specifier, the longest first of those with a common beginning. Nothing where the map names
/// what cannot be an address.
type SpecifierMap = BTreeMap<Reverse<String>, Option<Url>>;

impl ImportMap {
    /// Adds what another script of the document says. Fails, and adds nothing, if it is no map.
    /// <https://html.spec.whatwg.org/#parse-an-import-map-string>
    pub(crate) fn add(&mut self, text: &str, base: &Url) -> Result<(), String> {
        let parsed: Value = serde_json::from_str(text)
            .map_err(|error| format!("SyntaxError: an import map is no JSON: {error}"))?;
        let object = |value: &Value, what: &str| {
            let object = value.as_object().cloned();
            object.ok_or_else(|| format!("TypeError: {what} is no JSON object"))
        };
        let parsed = object(&parsed, "an import map")?;
        let part = |name: &str| match parsed.get(name) {
            Some(value) => object(value, &format!("\"{name}\" of an import map")),
            None => Ok(serde_json::Map::new()),
        };
        let imports = normalized(&part("imports")?, base);
        let mut scopes = Vec::new();
        for (prefix, map) in part("scopes")? {
            let map = object(&map, &format!("the scope \"{prefix}\" of an import map"))?;
            // A scope that is no URL is none of any script.
            if let Ok(prefix) = base.join(&prefix) {
                scopes.push((prefix.to_string(), normalized(&map, base)));
            }
        }
        merge(&mut self.imports, imports);
        for (prefix, map) in scopes {
            merge(self.scopes.entry(Reverse(prefix)).or_default(), map);
        }
        Ok(())
    }

    /// <https://html.spec.whatwg.org/#resolve-a-module-specifier>
    pub(crate) fn resolve(&self, specifier: &str, base: &Url) -> Result<Url, String> {
        let url = resolve_url(specifier, base);
        let normalized = url.as_ref().map_or(specifier, Url::as_str);
        let is_in = |prefix: &str| {
            base.as_str() == prefix || prefix.ends_with('/') && base.as_str().starts_with(prefix)
        };
        let scopes = self.scopes.iter().filter(|(Reverse(prefix), _)| is_in(prefix));
        for map in scopes.map(|(_, map)| map).chain([&self.imports]) {
            if let Some(found) = find(map, normalized, url.as_ref())? {
                return Ok(found);
            }
        }
        url.ok_or_else(|| unresolved(specifier))
    }
}

/// <https://html.spec.whatwg.org/#merge-existing-and-new-import-maps>
fn merge(map: &mut SpecifierMap, new: SpecifierMap) {
    for (specifier, address) in new {
        map.entry(specifier).or_insert(address);
    }
}

/// <https://html.spec.whatwg.org/#sorting-and-normalizing-a-module-specifier-map>
fn normalized(map: &serde_json::Map<String, Value>, base: &Url) -> SpecifierMap {
    let named = map.iter().filter(|(specifier, _)| !specifier.is_empty());
    let entries = named.map(|(specifier, address)| {
        let address = address.as_str().and_then(|address| resolve_url(address, base));
        let fits = |url: &Url| !specifier.ends_with('/') || url.as_str().ends_with('/');
        let specifier =
            resolve_url(specifier, base).map_or_else(|| specifier.clone(), |url| url.to_string());
        (Reverse(specifier), address.filter(fits))
    });
    entries.collect()
}

/// <https://html.spec.whatwg.org/#resolving-an-imports-match>
fn find(map: &SpecifierMap, specifier: &str, url: Option<&Url>) -> Result<Option<Url>, String> {
    for (Reverse(key), address) in map {
        let rest = match specifier.strip_prefix(key.as_str()) {
            Some(rest) if rest.is_empty() => rest,
            Some(rest) if key.ends_with('/') && url.is_none_or(is_special) => rest,
            _ => continue,
        };
        let blocked = |why: &str| {
            format!(
                "Failed to resolve module specifier \"{specifier}\": the import map's entry \
                 \"{key}\" {why}"
            )
        };
        let address = address.as_ref().ok_or_else(|| blocked("has no address"))?;
        if rest.is_empty() {
            return Ok(Some(address.clone()));
        }
        let found = address.join(rest).map_err(|_| blocked("makes no URL of it"))?;
        if !found.as_str().starts_with(address.as_str()) {
            return Err(blocked("does not lead out of its address"));
        }
        return Ok(Some(found));
    }
    Ok(None)
}

/// <https://url.spec.whatwg.org/#is-special>
fn is_special(url: &Url) -> bool {
    matches!(url.scheme(), "ftp" | "file" | "http" | "https" | "ws" | "wss")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://app.test/app/index.html").unwrap()
    }

    fn resolved(map: &ImportMap, specifier: &str, from: &str) -> String {
        let resolved = map.resolve(specifier, &base().join(from).unwrap());
        resolved.map_or_else(|error| error, |url| url.to_string())
    }

    #[test]
    fn a_specifier_is_what_its_map_says() {
        let mut map = ImportMap::default();
        let text = r#"{
            "imports": {
                "idb": "./lib/idb.js", "ui/": "/ui/", "ui/old/": "/old/", "/app/a.js": "./b.js",
                "gone": null, "bad/": "./file.js"
            },
            "scopes": { "./legacy/": { "idb": "./lib/idb-1.js" } }
        }"#;
        map.add(text, &base()).unwrap();
        for (specifier, from, expected) in [
            ("idb", "main.js", "https://app.test/app/lib/idb.js"),
            ("idb", "legacy/main.js", "https://app.test/app/lib/idb-1.js"),
            ("ui/button.js", "legacy/main.js", "https://app.test/ui/button.js"),
            ("ui/old/button.js", "main.js", "https://app.test/old/button.js"),
            ("./a.js", "main.js", "https://app.test/app/b.js"),
            ("./c.js", "main.js", "https://app.test/app/c.js"),
        ] {
            assert_eq!(resolved(&map, specifier, from), expected, "{specifier} from {from}");
        }
        for specifier in ["gone", "bad/x.js", "ui/../../secret.js", "unknown"] {
            let error = map.resolve(specifier, &base()).unwrap_err();
            assert!(error.starts_with("Failed to resolve module specifier"), "{error}");
        }
    }

    #[test]
    fn an_earlier_map_prevails_and_a_bad_one_adds_nothing() {
        let mut map = ImportMap::default();
        map.add(r#"{ "imports": { "a": "/1.js" } }"#, &base()).unwrap();
        map.add(r#"{ "imports": { "a": "/2.js", "b": "/2.js" } }"#, &base()).unwrap();
        let error = map.add(r#"{ "imports": { "c": "/3.js" }, "scopes": 1 }"#, &base());
        assert_eq!(error.unwrap_err(), "TypeError: \"scopes\" of an import map is no JSON object");
        assert!(map.add("{", &base()).unwrap_err().starts_with("SyntaxError: "));
        assert_eq!(resolved(&map, "a", ""), "https://app.test/1.js");
        assert_eq!(resolved(&map, "b", ""), "https://app.test/2.js");
        assert!(map.resolve("c", &base()).is_err());
    }
}
