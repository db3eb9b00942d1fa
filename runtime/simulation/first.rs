//! Scripted servers in front of an origin's files: a test scripts a route of the app's own server.
//!
//! Invariant: what is not scripted is answered as if there were no script.

use futures::future::LocalBoxFuture;
use url::Url;

use super::ScriptedServers;
use crate::http::{
    Http, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection, WebSocketRequest,
};

/// Asks the scripted servers for what they script, and the door behind them for the rest.
pub(crate) struct ServersFirst {
    servers: ScriptedServers,
    inner: Box<dyn Http>,
}

impl ServersFirst {
    pub(crate) fn new(servers: ScriptedServers, inner: Box<dyn Http>) -> Self {
        ServersFirst { servers, inner }
    }
}

impl Http for ServersFirst {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        match self.servers.has(&request.method, &request.url) {
            true => self.servers.send(request),
            false => self.inner.send(request),
        }
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        if self.servers.has("GET", url) { self.servers.load(url) } else { self.inner.load(url) }
    }

    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        self.inner.connect(request)
    }
}
