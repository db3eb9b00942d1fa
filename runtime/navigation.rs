//! What a browser fetches for a page: its document and its scripts, by way of its controller.
//! <https://html.spec.whatwg.org/#create-navigation-params-by-fetching>
//!
//! Invariant: each hop of a navigation goes to the registration that its own URL matches.

use std::rc::Rc;

use url::Url;

use crate::fetch::{
    Body, CacheMode, Credentials, Interceptor, Mode, RedirectMode, Referrer, ReferrerPolicy,
    Request, Response, ResponseSource, ResponseType, ServiceWorkersMode, Tainting, fetch, header,
};
use crate::fetch_events::{Controller, EventClient};
use crate::host::Shard;
use crate::http::{HttpError, Loaded, REDIRECTS_AT_MOST, redirect_target};
use crate::pages::Page;

const DOCUMENT_TYPES: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

impl Shard {
    /// Fetches the document of a client that is about to be: <https://html.spec.whatwg.org/#navigate>
    pub(crate) async fn load_document(&self, url: &Url, client: &str) -> Result<Loaded, String> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_AT_MOST {
            let mut request = request_of(url.clone(), "document", Mode::Navigate);
            request.headers.push(("accept".to_owned(), DOCUMENT_TYPES.to_owned()));
            request.redirect = RedirectMode::Manual;
            let controller = self.match_registration(url.as_str()).and_then(|found| found.active());
            let client =
                EventClient { resulting_client_id: client.to_owned(), ..EventClient::default() };
            let controller =
                controller.map(|worker| Controller { shard: self.me(), worker, client });
            let response = self.fetch_as_browser(&url, controller, request).await?;
            if response.kind != ResponseType::OpaqueRedirect {
                // The document's URL, whatever the URL of a response that the worker brought.
                return Ok(Loaded { url, ..loaded(response).await? });
            }
            let location = header(&response.headers, "location");
            let target = redirect_target(&url, response.status, location.as_deref());
            let target = target.map_err(|error| error.to_string())?;
            url = target.ok_or_else(|| format!("{url} redirects to nowhere"))?;
        }
        Err(HttpError::TooManyRedirects { url }.to_string())
    }

    /// Fetches a classic script: <https://html.spec.whatwg.org/#fetch-a-classic-script>
    pub(crate) async fn load_script(&self, page: &Page, url: &Url) -> Result<Loaded, String> {
        self.load_for(page, request_of(url.clone(), "script", Mode::NoCors)).await
    }

    /// Fetches a module script: <https://html.spec.whatwg.org/#fetch-a-single-module-script>
    pub(crate) async fn load_module_script(
        &self,
        page: &Page,
        url: &Url,
    ) -> Result<Loaded, String> {
        let mut request = request_of(url.clone(), "script", Mode::Cors);
        request.credentials = Credentials::SameOrigin;
        self.load_for(page, request).await
    }

    async fn load_for(&self, page: &Page, mut request: Request) -> Result<Loaded, String> {
        request.origin = page.url.origin();
        request.referrer = Referrer::Url(page.url.clone());
        let client = EventClient { client_id: page.id.clone(), ..EventClient::default() };
        let controller = page.controller.borrow().clone();
        let controller = controller.map(|worker| Controller { shard: self.me(), worker, client });
        loaded(self.fetch_as_browser(&page.url, controller, request).await?).await
    }

    /// Such a request is traced where a worker answered it, or nobody did.
    async fn fetch_as_browser(
        &self,
        client: &Url,
        controller: Option<Controller>,
        mut request: Request,
    ) -> Result<Response, String> {
        if controller.is_some() {
            request.service_workers = ServiceWorkersMode::All;
        }
        let (method, url) = (request.method.clone(), request.url().to_string());
        let started = self.elapsed_ms();
        let interceptor = controller.map(|each| Rc::new(each) as Rc<dyn Interceptor>);
        let environment = self.fetch_environment(client, interceptor);
        let fetched = fetch(&environment, request).await;
        match &fetched {
            Ok(response) if response.source == ResponseSource::ServiceWorker => {
                self.trace_fetch(started, method, url, Ok((response.status, response.source)));
            }
            Err(error) => self.trace_fetch(started, method, url, Err(error)),
            Ok(_) => {}
        }
        fetched.map_err(|error| error.to_string())
    }
}

/// A request as a browser begins it.
pub(crate) fn request_of(url: Url, destination: &str, mode: Mode) -> Request {
    Request {
        method: "GET".to_owned(),
        origin: url.origin(),
        url_list: vec![url],
        headers: Vec::new(),
        body: Body::Empty,
        mode,
        credentials: Credentials::Include,
        cache: CacheMode::Default,
        redirect: RedirectMode::Follow,
        referrer: Referrer::None,
        referrer_policy: ReferrerPolicy::DEFAULT,
        integrity: String::new(),
        keepalive: false,
        destination: destination.to_owned(),
        tainting: Tainting::Basic,
        service_workers: ServiceWorkersMode::None,
        reload: false,
    }
}

async fn loaded(response: Response) -> Result<Loaded, String> {
    let loaded = response.into_loaded().await.map_err(|error| error.to_string())?;
    match loaded.status {
        200..300 => Ok(loaded),
        status => Err(format!("the server answered {status}")),
    }
}
