//! What a script asks for at once though it is much: the engine reads it on another thread, in
//! real time, and the realm has it in parts.

use std::sync::mpsc::channel;

use kittiwake::{PageSource, Runtime, TraceKind};
use url::Url;

const SCRIPT: &str = r#"
const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
const text = (key) => key === 2_500 ? new Blob(["in the midst"]) : `letter ${key}`;

(async () => {
  const opening = indexedDB.open("outbox");
  opening.onupgradeneeded = () => opening.result.createObjectStore("letters");
  const database = await done(opening);
  const writing = database.transaction("letters", "readwrite");
  for (let key = 0; key < 5_000; key++) {
    writing.objectStore("letters").put({ key, text: text(key) }, key);
  }
  await new Promise((resolve) => writing.oncomplete = resolve);

  const letters = () => database.transaction("letters").objectStore("letters");
  const store = letters();
  const [all, some, count] = await Promise.all([
    done(store.getAll()),
    done(store.getAll(IDBKeyRange.lowerBound(1_000), 3_000)),
    done(store.count()),
  ]);
  const inOrder = (found, first) => found.every(({ key }, place) => key === first + place);
  console.log(all.length, inOrder(all, 0), some.length, inOrder(some, 1_000), count);
  console.log(all[2_499].text, await all[2_500].text.text(), all[2_501].text);

  const given = letters();
  given.getAll().onsuccess = () => console.log("an aborted request has succeeded");
  const over = new Promise((resolve) => given.transaction.onabort = resolve);
  given.transaction.abort();
  await over;
  console.log((await done(letters().getAll())).length);
})();
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_answer_is_whole_and_in_order() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let (tell, told) = channel();
    let watch = move |event: &kittiwake::TraceEvent| match &event.kind {
        TraceKind::Console { text, .. } => tell.send(text.clone()).expect("the test listens"),
        TraceKind::Error { .. } => tell.send(event.to_string()).expect("the test listens"),
        _ => {}
    };
    let runtime = Runtime::builder().state_folder(state.path()).on_trace(watch).start();
    let runtime = runtime.expect("it starts");
    let page = Url::parse("https://app.test/").expect("a URL");
    let script = page.join("script.js").expect("a URL");
    let source = PageSource::Script(script, SCRIPT.to_owned());
    runtime.open_page(page, source).await.expect("the page opens");
    runtime.idle().await.expect("it becomes idle");
    runtime.shut_down().await.expect("it ends");
    let expected = ["5000 true 3000 true 5000", "letter 2499 in the midst letter 2501", "5000"];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
}
