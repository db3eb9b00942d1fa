//! Thousands of tenants, each with a worker of its own at an origin of its own, on one machine: few
//! are in memory at a time, and each wakes for its event.
//!
//! ```sh
//! cargo run --release --example thousands_of_tenants -- 5000
//! ```

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kittiwake::{
    DoorAnswer, DoorRequest, DoorResponse, EventOutcome, HttpDoor, LastChance, Runtime, Usage,
};
use tokio::time::Instant;
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How many are registered, and how many get an event, at a time.
const AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> Result<()> {
    let tenants = std::env::args().nth(1).map_or(Ok(2000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let builder = Runtime::builder().state_folder(folder.path()).shards(2);
    let runtime = builder.http(Scripts).resident_limit(100, 1 << 30).start()?;
    let started = Instant::now();
    register(&runtime, tenants).await?;
    println!("{tenants} tenants registered in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let usage = wake(&runtime, tenants).await?;
    let each = started.elapsed() / u32::try_from(tenants)?;
    let each = each.as_secs_f64() * 1e3;
    println!("an event for each: {each:.2} ms each; in memory now: {usage:?}");
    runtime.shut_down().await?;
    Ok(())
}

/// Where scripts come from: a database, in a real service. No request reaches a network.
pub struct Scripts;

impl HttpDoor for Scripts {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        let tenant = request.url.host_str().unwrap_or_default().to_owned();
        let script = format!(
            "onpush = (event) => event.waitUntil(caches.open('{tenant}').then(
               (cache) => cache.put('/last', new Response(event.data.text()))));"
        );
        let headers = vec![("content-type".to_owned(), "text/javascript".to_owned())];
        let body = stream::iter([Ok(script.into_bytes().into())]).boxed();
        let response = DoorResponse { status: 200, status_text: String::new(), headers, body };
        std::future::ready(Ok(response)).boxed()
    }
}

fn scope(tenant: usize) -> Url {
    Url::parse(&format!("https://tenant{tenant}.example/")).expect("a URL")
}

/// Registers a worker for each.
pub async fn register(runtime: &Runtime, tenants: usize) -> Result<()> {
    let registered = stream::iter(0..tenants).map(|tenant| async move {
        let script = scope(tenant).join("sw.js").expect("a URL");
        runtime.register(script, None).await
    });
    registered.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await?;
    Ok(())
}

/// Dispatches a push event at each, and answers what is in memory after that.
pub async fn wake(runtime: &Runtime, tenants: usize) -> Result<Usage> {
    let outcomes = stream::iter(0..tenants).map(|tenant| async move {
        let data = format!("hello, {tenant}").into_bytes();
        runtime.dispatch_push(Some(scope(tenant)), Some(data)).await
    });
    let mut outcomes = outcomes.buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        match outcome? {
            EventOutcome::Fulfilled => {}
            other => return Err(format!("an event was {other:?}").into()),
        }
    }
    // A sync event, for the last one, beside the pushes.
    let last = Some(scope(tenants - 1));
    runtime.dispatch_sync(last, "done", LastChance::No).await?;
    Ok(runtime.usage().await?)
}
