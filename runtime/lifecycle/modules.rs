//! The module graph of a worker's script: fetched while the worker installs, from the store ever
//! after. <https://html.spec.whatwg.org/#fetch-a-module-worker-script-tree>
//!
//! Invariant: what a graph is made from is in the script resource map, or is a `data:` URL, which
//! is its own source; so a worker starts again without its servers.

use std::collections::BTreeSet;

use data_url::DataUrl;
use futures::future::join_all;
use kittiwake_ops::{RealmId, ScriptException, ScriptSource};
use url::Url;

use super::Worker;
use super::script::{decode, is_javascript, mime_essence, resource};
use crate::drive::Command;
use crate::host::Shard;
use crate::http::{HttpError, HttpRequest, Loaded};
use crate::realm::{ModuleImport, ModuleKey, ModuleKind, RealmError, TopLevelAwait};

/// More modules than any bundle leaves unbundled; a server could invent them without end.
const MAX_MODULES: usize = 4096;

impl Shard {
    /// Compiles the graph of a worker's main script in its realm, level by level, and runs it.
    pub(super) async fn run_module(
        &self,
        worker: &Worker,
        realm: RealmId,
        source: ScriptSource,
    ) -> Result<(), RealmError> {
        let url = Url::parse(&worker.script_url).expect("a worker's script has a URL");
        let root = ModuleKey { url, kind: ModuleKind::JavaScript };
        let mut seen = BTreeSet::from([root.clone()]);
        let mut level = vec![(root.clone(), source)];
        while !level.is_empty() {
            let mut wanted = Vec::new();
            for (key, source) in level {
                let referrer = key.url.clone();
                let url = key.url.clone();
                let compile = |done| Command::CompileModule { key, url, source, done };
                for import in self.ask_realm(realm, compile).await? {
                    if seen.insert(import.key.clone()) {
                        wanted.push((referrer.clone(), import));
                    }
                }
            }
            if seen.len() > MAX_MODULES {
                let text =
                    format!("{root} imports more than {MAX_MODULES} modules", root = root.url);
                return Err(RealmError::CannotStart(super::plain_exception(text)));
            }
            let sources = wanted
                .iter()
                .map(|(referrer, import)| self.module_source(worker, referrer, import));
            let sources = join_all(sources).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            level = wanted.into_iter().map(|(_, import)| import.key).zip(sources).collect();
        }
        let top_level_await = TopLevelAwait::Refused;
        let evaluate = |done| Command::EvaluateModule { root, top_level_await, done };
        self.ask_realm(realm, evaluate).await
    }

    async fn module_source(
        &self,
        worker: &Worker,
        referrer: &Url,
        import: &ModuleImport,
    ) -> Result<ScriptSource, RealmError> {
        let body = self.module_body(worker, referrer, &import.key).await;
        let url = import.key.url.as_str();
        body.map(|body| self.with_kept_code(worker, url, decode(&body))).map_err(|why| {
            RealmError::CannotStart(ScriptException {
                message: format!("{} was not imported: {why}", import.key.url),
                file: Some(referrer.to_string()),
                line: Some(import.line),
                column: Some(import.column),
                stack: None,
            })
        })
    }

    async fn module_body(
        &self,
        worker: &Worker,
        referrer: &Url,
        key: &ModuleKey,
    ) -> Result<Vec<u8>, String> {
        let ModuleKey { url, kind } = key;
        if url.scheme() == "data" {
            return data_module(url, *kind);
        }
        let known = worker.resources.borrow().get(url.as_str()).cloned();
        let known = match known {
            Some(resource) => Some(resource),
            None => {
                self.stored_resource(worker, url.as_str()).map_err(|error| error.to_string())?
            }
        };
        if let Some(known) = known {
            let content_type = Some(known.content_type);
            let loaded = Loaded { status: 200, content_type, url: url.clone(), body: known.body };
            return check_type(loaded, *kind).map(|loaded| loaded.body);
        }
        if !worker.is_installing() {
            return Err("it was not imported when the worker was installed".to_owned());
        }
        let loaded = check_type(self.fetch_module(worker, referrer, url).await?, *kind)?;
        let resource = resource(url.as_str(), loaded);
        let body = resource.body.clone();
        worker.resources.borrow_mut().insert(url.to_string(), resource);
        Ok(body)
    }

    /// Mode `cors`, and as in Chromium no redirect is followed: a module's URL is that of its
    /// source. <https://html.spec.whatwg.org/#fetch-a-single-module-script>
    async fn fetch_module(
        &self,
        worker: &Worker,
        referrer: &Url,
        url: &Url,
    ) -> Result<Loaded, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the scheme `{}` has no modules", url.scheme()));
        }
        let mut request = HttpRequest::get(url.clone());
        request.headers.push(("origin".to_owned(), worker.origin.clone()));
        request.headers.push(("referer".to_owned(), referrer_of(referrer, url)));
        let response = self.http.send(request).await.map_err(|error| error.to_string())?;
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            return Err(HttpError::RedirectForbidden { url: response.url }.to_string());
        }
        if url.origin().ascii_serialization() != worker.origin {
            let allowed = response.header("access-control-allow-origin");
            if !allowed.is_some_and(|allowed| allowed == "*" || allowed == worker.origin) {
                return Err(format!(
                    "its server does not let {} read it (Access-Control-Allow-Origin is {})",
                    worker.origin,
                    allowed.unwrap_or("missing")
                ));
            }
        }
        let loaded = response.into_loaded().await.map_err(|error| error.to_string())?;
        match loaded.status {
            200..=299 => Ok(loaded),
            status => Err(format!("the server answered {status}")),
        }
    }
}

/// <https://w3c.github.io/webappsec-referrer-policy/#referrer-policy-strict-origin-when-cross-origin>
fn referrer_of(referrer: &Url, target: &Url) -> String {
    if referrer.origin() == target.origin() {
        return referrer.to_string();
    }
    format!("{}/", referrer.origin().ascii_serialization())
}

pub(crate) fn data_module(url: &Url, kind: ModuleKind) -> Result<Vec<u8>, String> {
    let data = DataUrl::process(url.as_str()).map_err(|error| error.to_string())?;
    let (body, _) = data.decode_to_vec().map_err(|_| "its base64 is invalid".to_owned())?;
    let content_type = Some(data.mime_type().to_string());
    check_type(Loaded { status: 200, content_type, url: url.clone(), body }, kind)
        .map(|loaded| loaded.body)
}

pub(crate) fn check_type(loaded: Loaded, kind: ModuleKind) -> Result<Loaded, String> {
    let essence = mime_essence(&loaded);
    let fits = match kind {
        ModuleKind::JavaScript | ModuleKind::Inline(_) => is_javascript(&loaded),
        ModuleKind::Json => is_json(&essence.to_ascii_lowercase()),
    };
    if fits {
        return Ok(loaded);
    }
    let wanted = match kind {
        ModuleKind::JavaScript | ModuleKind::Inline(_) => "JavaScript",
        ModuleKind::Json => "JSON",
    };
    Err(format!("its MIME type '{essence}' is not that of {wanted}"))
}

/// <https://mimesniff.spec.whatwg.org/#json-mime-type>
fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json") || essence.ends_with("+json")
}
