//! Registrations on disk while their pages go on: what was asked for is seen, and kept.
//!
//! Invariant: a list has every change that was asked for before it, though its commit is under way
//! on another thread.

use std::error::Error;
use std::fs;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use kittiwake::{NetworkState, PageSource, Runtime, TraceKind, stored_syncs};
use url::Url;

const PAGES: usize = 6;
const ROUNDS: usize = 20;

/// Some rounds ask for the list while a commit is under way, some while nothing is.
const PAGE: &str = r#"
addEventListener("offline", async () => {
  const { sync, periodicSync } = await navigator.serviceWorker.ready;
  for (let i = 0; i < ROUNDS; i++) {
    const asked = [sync.register(`${i}`), periodicSync.register(`${i}`)];
    if (i % 3 === 0) await sync.register(`awaited-${i}`);
    asked.push(periodicSync.unregister(`${i}`), periodicSync.unregister("never registered"));
    if (!(await sync.getTags()).includes(`${i}`)) console.log("a sync is missing");
    if ((await periodicSync.getTags()).length > 0) console.log("a periodic sync is left");
    await Promise.all(asked);
  }
  const tooLong = sync.register("x".repeat(10241)).catch((error) => error.name);
  console.log(await tooLong);
});
"#;

#[test]
fn a_list_sees_what_was_asked_for_while_the_disk_is_busy() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let state = tempfile::tempdir()?;
    fs::write(root.path().join("sw.js"), "")?;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let origins = (0..PAGES).map(|number| Url::parse(&format!("https://app{number}.test")));
    let origins = origins.collect::<Result<Vec<_>, _>>()?;
    let builder = Runtime::builder().state_folder(state.path()).on_trace(move |event| {
        if let TraceKind::Console { text, .. } = &event.kind {
            told.lock().expect("no holder panics").push(text.clone());
        }
    });
    let serve =
        |builder: kittiwake::Builder, origin: &Url| builder.serve(origin.clone(), root.path());
    let runtime = origins.iter().fold(builder, serve).start()?;
    block_on(async {
        for origin in &origins {
            runtime.register(origin.join("sw.js").expect("a URL"), None).await?;
            let script = origin.join("page.js").expect("a URL");
            let page = PAGE.replace("ROUNDS", &ROUNDS.to_string());
            runtime.open_page(origin.clone(), PageSource::Script(script, page)).await?;
        }
        runtime.set_network(NetworkState::Offline).await?;
        runtime.idle().await?;
        runtime.shut_down().await
    })?;
    assert_eq!(*heard.lock().expect("no holder panics"), ["InvalidAccessError"; PAGES]);
    let kept = stored_syncs(state.path())?.syncs;
    assert_eq!(kept.len(), PAGES * (ROUNDS + ROUNDS.div_ceil(3)));
    Ok(())
}
