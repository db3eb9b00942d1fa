//! What a document's HTML says about scripts: <https://html.spec.whatwg.org/#the-script-element>
//!
//! Invariant: nothing else of a document is looked at.

use html5gum::{DefaultEmitter, SpanBound, StartTag, Token, Tokenizer};
use url::Url;

use crate::lifecycle::decode;

/// A script of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageScript {
    pub(crate) kind: ScriptKind,
    pub(crate) content: ScriptContent,
    /// It runs when the document has been parsed, after those that do not wait for that.
    pub(crate) deferred: bool,
}

/// <https://html.spec.whatwg.org/#concept-script-type>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptKind {
    Classic,
    Module,
    ImportMap,
}

/// Where its text is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScriptContent {
    /// Here; the URL is that of the document, or of a script that is a page by itself.
    Inline(Url, String),
    External(Url),
}

impl PageScript {
    /// A classic script that is a whole page.
    pub(crate) fn alone(url: Url, source: String) -> Self {
        let content = ScriptContent::Inline(url, source);
        PageScript { kind: ScriptKind::Classic, content, deferred: false }
    }
}

/// The scripts of a document, in its order: <https://html.spec.whatwg.org/#prepare-the-script-element>
pub(crate) fn scripts_of(base: &Url, html: &str) -> Vec<PageScript> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let (mut scripts, mut inline) = (Vec::new(), None);
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) if tag.name.as_slice() == b"script" => {
                let Some(kind) = kind_of(&tag) else { continue };
                let source = attribute(&tag, b"src").unwrap_or_default();
                match base.join(&source) {
                    Ok(url) if !source.is_empty() => {
                        let deferred = kind == ScriptKind::Module || is_deferred(&tag);
                        let content = ScriptContent::External(url);
                        scripts.push(PageScript { kind, content, deferred });
                    }
                    _ => inline = Some((kind, String::new())),
                }
            }
            Token::String(text) => {
                if let Some((_, inline)) = &mut inline {
                    inline.push_str(&decode(&text));
                }
            }
            Token::EndTag(tag) if tag.name.as_slice() == b"script" => {
                scripts.extend(inline.take().map(|(kind, source)| PageScript {
                    kind,
                    content: ScriptContent::Inline(base.clone(), source),
                    deferred: kind == ScriptKind::Module,
                }));
            }
            _ => {}
        }
    }
    scripts
}

/// Nothing for data blocks, and for what is meant for those who have no modules.
fn kind_of<S: SpanBound>(tag: &StartTag<S>) -> Option<ScriptKind> {
    let kind = attribute(tag, b"type").unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" | "text/javascript" | "application/javascript" => {
            attribute(tag, b"nomodule").is_none().then_some(ScriptKind::Classic)
        }
        "module" => Some(ScriptKind::Module),
        "importmap" => Some(ScriptKind::ImportMap),
        _ => None,
    }
}

/// `async` wins over `defer`; such a script may run at once.
fn is_deferred<S: SpanBound>(tag: &StartTag<S>) -> bool {
    attribute(tag, b"defer").is_some() && attribute(tag, b"async").is_none()
}

fn attribute<S: SpanBound>(tag: &StartTag<S>, name: &[u8]) -> Option<String> {
    tag.attributes.get(name).map(|value| decode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_deferred_scripts_wait_and_data_blocks_are_none() {
        let base = Url::parse("https://app.test/").unwrap();
        let html = r#"<!doctype html>
            <script type="importmap">{}</script>
            <script type="application/ld+json">{"not": "a script"}</script>
            <script type="module">import "./a.js";</script>
            <script type=module src=b.js></script>
            <script defer src=c.js></script>
            <script nomodule src=old.js></script>
            <script>first()</script>"#;
        let scripts = scripts_of(&base, html);
        let short: Vec<_> = scripts.iter().map(|each| (each.kind, each.deferred)).collect();
        use ScriptKind::{Classic, ImportMap, Module};
        let expected =
            [(ImportMap, false), (Module, true), (Module, true), (Classic, true), (Classic, false)];
        assert_eq!(short, expected);
        let external = |name| ScriptContent::External(base.join(name).unwrap());
        assert_eq!(scripts[2].content, external("b.js"));
        assert_eq!(scripts[3].content, external("c.js"));
        assert_eq!(scripts[4].content, ScriptContent::Inline(base, "first()".to_owned()));
    }
}
