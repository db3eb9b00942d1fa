//! A worker's scripts: from the network while it installs, from the store ever after.

use data_url::DataUrl;
use kittiwake_ops::{OpError, ScriptSource};
use kittiwake_store::{ScriptResource, StoreError};
use url::Url;

use super::Worker;
use crate::host::Shard;
use crate::http::Loaded;
use crate::realm::RealmError;

impl Shard {
    /// The worker's own script.
    pub(super) fn main_script(&self, worker: &Worker) -> Result<ScriptSource, RealmError> {
        let url = &worker.script_url;
        let failed = |cause| {
            let text = format!("{url} cannot be started: {cause}");
            RealmError::Exception(super::plain_exception(text))
        };
        let source = self.script_source(worker, url).map_err(|error| failed(error.to_string()))?;
        source.ok_or_else(|| failed("its script is not in the store".to_owned()))
    }

    /// A script in the worker's script resource map.
    pub(super) fn script_source(
        &self,
        worker: &Worker,
        url: &str,
    ) -> Result<Option<ScriptSource>, StoreError> {
        if let Some(resource) = worker.resources.borrow().get(url) {
            return Ok(Some(decode(&resource.body).into()));
        }
        let stored = self.stored_resource(worker, url)?;
        Ok(stored.map(|resource| self.with_kept_code(worker, url, decode(&resource.body))))
    }

    pub(super) fn stored_resource(
        &self,
        worker: &Worker,
        url: &str,
    ) -> Result<Option<ScriptResource>, StoreError> {
        match worker.version.get() {
            Some(version) => self.store.script_resource(version, url),
            None => Ok(None),
        }
    }

    /// One script of `importScripts()`. Blocks the host thread while the worker installs.
    /// <https://w3c.github.io/ServiceWorker/#importscripts>
    pub(crate) fn import_script_for(
        &self,
        worker: &Worker,
        url: &str,
    ) -> Result<ScriptSource, OpError> {
        let failed = || OpError::ImportFailed { url: url.to_owned() };
        match self.script_source(worker, url) {
            Ok(Some(source)) => return Ok(source),
            Ok(None) => {}
            Err(error) => {
                self.trace_store_error(&error);
                return Err(failed());
            }
        }
        let parsed = Url::parse(url).map_err(|_| failed())?;
        if parsed.scheme() == "data" {
            // It is its own source.
            return data_script(url).map(ScriptSource::from).ok_or_else(failed);
        }
        if !worker.is_installing() {
            return Err(failed());
        }
        let loaded = match self.http.load(&parsed) {
            Ok(loaded) => loaded,
            Err(error) => {
                let text = format!("importScripts of {url}: {error}");
                self.trace_exception(super::plain_exception(text));
                return Err(failed());
            }
        };
        if !(200..300).contains(&loaded.status) || !is_javascript(&loaded) {
            return Err(failed());
        }
        let resource = resource(url, loaded);
        let source = decode(&resource.body);
        worker.resources.borrow_mut().insert(url.to_owned(), resource);
        Ok(source.into())
    }
}

fn data_script(url: &str) -> Option<String> {
    let data = DataUrl::process(url).ok()?;
    let (body, _) = data.decode_to_vec().ok()?;
    let essence = data.mime_type().to_string();
    let url = Url::parse(url).ok()?;
    let loaded = Loaded { status: 200, content_type: Some(essence), url, body };
    is_javascript(&loaded).then(|| decode(&loaded.body))
}

pub(super) fn resource(url: &str, loaded: Loaded) -> ScriptResource {
    ScriptResource {
        url: url.to_owned(),
        content_type: loaded.content_type.unwrap_or_default(),
        body: loaded.body,
    }
}

/// <https://mimesniff.spec.whatwg.org/#javascript-mime-type>
pub(crate) fn is_javascript(loaded: &Loaded) -> bool {
    let essence = mime_essence(loaded).to_ascii_lowercase();
    let Some((kind, name)) = essence.split_once('/') else {
        return false;
    };
    let versions = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"];
    match (kind, name) {
        ("text" | "application", "javascript" | "ecmascript" | "x-javascript" | "x-ecmascript") => {
            true
        }
        ("text", "jscript" | "livescript") => true,
        ("text", name) => {
            name.strip_prefix("javascript").is_some_and(|rest| versions.contains(&rest))
        }
        _ => false,
    }
}

/// The content type without its parameters.
pub(super) fn mime_essence(loaded: &Loaded) -> &str {
    let text = loaded.content_type.as_deref().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// <https://encoding.spec.whatwg.org/#utf-8-decode>
pub(crate) fn decode(body: &[u8]) -> String {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    String::from_utf8_lossy(body).into_owned()
}
