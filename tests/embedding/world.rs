//! What the tests of this binary share: a door without a network, and origins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::{FutureExt, StreamExt, stream};
use kittiwake::{DoorAnswer, DoorError, DoorRequest, DoorResponse, HttpDoor};
use url::Url;

/// Answers from memory, at every origin alike; and keeps what it was asked.
#[derive(Clone, Default)]
pub struct Site(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, String>,
    asked: Vec<String>,
}

impl Site {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let site = Site::default();
        let own = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        site.0.lock().expect("no holder panics").files = own.collect();
        site
    }

    /// Methods and URLs, in order.
    pub fn asked(&self) -> Vec<String> {
        self.0.lock().expect("no holder panics").asked.clone()
    }
}

impl HttpDoor for Site {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        let mut inner = self.0.lock().expect("no holder panics");
        inner.asked.push(format!("{} {}", request.method, request.url));
        let Some(text) = inner.files.get(request.url.path()).cloned() else {
            return std::future::ready(Err(DoorError::Refused)).boxed();
        };
        let headers = vec![("content-type".to_owned(), "text/javascript".to_owned())];
        let body = stream::iter([Ok(text.into_bytes().into())]).boxed();
        let response = DoorResponse { status: 200, status_text: "OK".to_owned(), headers, body };
        std::future::ready(Ok(response)).boxed()
    }
}

/// The root of one of many origins.
pub fn origin(number: usize) -> Url {
    Url::parse(&format!("https://app{number}.test/")).expect("a URL")
}

pub fn script(number: usize) -> Url {
    origin(number).join("sw.js").expect("a URL")
}
