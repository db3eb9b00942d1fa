//! Windows as an embedder moves them, and pages that behave badly.
//!
//! Invariant: what one page does to itself never keeps the runtime from ending.

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use kittiwake::{Builder, Error, PageSource, Runtime, TraceKind};
use url::Url;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no holder panics"))
    }

    fn listen(&self, builder: Builder) -> Runtime {
        let lines = self.0.clone();
        let builder = builder.on_trace(move |event| {
            let line = match &event.kind {
                TraceKind::Console { text, .. } => text.clone(),
                TraceKind::Error { exception } => format!("error: {exception}"),
                TraceKind::Lifecycle { state, .. } => (*state).to_owned(),
                _ => return,
            };
            lines.lock().expect("no holder panics").push(line);
        });
        builder.start().expect("it starts")
    }
}

fn page(script: &str) -> (Url, PageSource) {
    let url = Url::parse("https://app.test/").expect("a URL");
    (url.clone(), PageSource::Script(url, script.to_owned()))
}

#[test]
fn a_page_that_reloads_itself_for_ever_is_stopped() {
    let heard = Heard::default();
    let runtime = heard.listen(Runtime::builder().simulated(0));
    block_on(async {
        let (url, source) = page("location.reload();");
        runtime.open_page(url, source).await.expect("it opens");
        runtime.idle().await.expect("it ends");
        let heard = heard.take();
        assert_eq!(heard.iter().filter(|line| *line == "opened").count(), 201);
        let last = heard.last().expect("a line");
        assert_eq!(last, "error: https://app.test/ was not opened: the page navigates too often");
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn a_page_keeps_its_name_when_it_is_reloaded() {
    let heard = Heard::default();
    let runtime = heard.listen(Runtime::builder().simulated(0));
    block_on(async {
        let (url, source) = page("console.log('runs'); onpagehide = () => console.log('left');");
        let opened = runtime.open_page(url, source).await.expect("it opens");
        runtime.reload_page(opened).await.expect("it reloads");
        let open = runtime.pages().await.expect("it answers");
        assert_eq!((open.len(), open[0].page, open[0].in_front), (1, opened, true));
        runtime.close_page(opened).await.expect("it closes");
        assert_eq!(heard.take(), ["opened", "runs", "left", "opened", "runs", "left"]);
        assert!(matches!(runtime.reload_page(opened).await, Err(Error::NoPage)));
        assert!(matches!(runtime.focus_page(opened).await, Err(Error::NoPage)));
        runtime.close_page(opened).await.expect("a page is closed once");
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn no_more_pages_open_than_may() {
    let runtime = Heard::default().listen(Runtime::builder().simulated(0).page_limit(3));
    block_on(async {
        let mut pages = Vec::new();
        for _ in 0..3 {
            let (url, source) = page("");
            pages.push(runtime.open_page(url, source).await.expect("it opens"));
        }
        let (url, source) = page("");
        let refused = runtime.open_page(url.clone(), source.clone()).await;
        assert!(matches!(refused, Err(Error::TooManyPages { limit: 3 })));
        runtime.close_page(pages[0]).await.expect("it closes");
        runtime.open_page(url, source).await.expect("there is room again");
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn a_flood_between_pages_leaves_other_origins_undisturbed() {
    let heard = Heard::default();
    let runtime = heard.listen(Runtime::builder().simulated(0));
    block_on(async {
        let (url, flood) = page(
            "const { port1 } = new MessageChannel();
             const part = new ArrayBuffer(60 << 20);
             try { for (;;) port1.postMessage(part); } catch ({ name }) { console.log(name); }",
        );
        runtime.open_page(url, flood).await.expect("it opens");
        let other = Url::parse("https://other.test/").expect("a URL");
        let script = "const { port1, port2 } = new MessageChannel();
             port2.onmessage = ({ data }) => console.log('other', data.byteLength);
             port1.postMessage(new ArrayBuffer(60 << 20));";
        let source = PageSource::Script(other.clone(), script.to_owned());
        runtime.open_page(other, source).await.expect("it opens");
        runtime.idle().await.expect("it ends");
        let heard = heard.take();
        assert_eq!(heard, ["opened", "DataCloneError", "opened", "other 62914560"]);
        runtime.shut_down().await.expect("it ends");
    });
}
