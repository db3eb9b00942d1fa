//! Scripts that want too many of something, and limits that nobody could keep.

use std::time::Duration;

use futures::executor::block_on;
use kittiwake::{Error, Limit, LimitError, LimitSetting, Limits, Runtime, TraceEvent, TraceKind};

use crate::world::{BAD, World, attack, servers};

/// Asks until it is refused; says how often it was granted, and the refusal.
const UNTIL_REFUSED: &str = "
    async function untilRefused(ask) {
      let granted = 0;
      try { for (;; granted++) await ask(granted); }
      catch (error) { console.log(granted, error.name); }
    }";

#[track_caller]
fn is_refused(limit: Limit, amount: u64, script: &str, expected: &[&str]) {
    let heard = attack(&[(limit, amount)], &format!("{UNTIL_REFUSED}{script}"));
    assert_eq!(heard, expected);
}

#[test]
fn timers_beyond_the_limit_are_refused() {
    let script = "untilRefused(() => { setTimeout(() => {}, 1e6); });";
    is_refused(Limit::Timers, 3, script, &["timers refused", "3 QuotaExceededError"]);
}

#[test]
fn timers_that_fired_or_were_cleared_make_room_for_others() {
    let script = "let ticks = 0;
        for (let i = 0; i < 9; i++) clearTimeout(setTimeout(() => console.log('never'), 1));
        for (let i = 0; i < 9; i++) clearInterval(setInterval(() => console.log('never'), 1));
        (function tick() { if (++ticks < 9) setTimeout(tick); else console.log(ticks); })();
        setTimeout('console.log(\"a string\")');";
    is_refused(Limit::Timers, 3, script, &["a string", "9"]);
}

#[test]
fn a_flood_of_the_console_is_dropped_until_the_next_second() {
    let script = "for (let i = 0; i < 1000; i++) console.log('x'.repeat(1000));
        console.log('y'.repeat(1 << 20));
        setTimeout(() => console.log('a second later'), 1000);";
    let heard = attack(&[(Limit::Console, 10_000)], script);
    let (kept, rest): (Vec<_>, Vec<_>) = heard.iter().partition(|line| line.starts_with('x'));
    assert_eq!(kept.len(), 9, "9 lines of 1000 bytes with 64 besides");
    assert_eq!(rest, ["console dropped", "a second later"]);
}

#[test]
fn requests_beyond_the_limit_fail_and_the_others_are_answered() {
    let world = World::with(&[(Limit::Fetches, 2)], |builder| {
        builder.servers(servers(r#"{"https://api.test": {"GET /": [200, 200, 200]}}"#))
    });
    world.attack(
        "(async () => {
           const ask = () => fetch('https://api.test/').then((r) => r.status, (e) => `${e}`);
           console.log(...await Promise.all([ask(), ask(), ask()]));
           console.log(await ask());
         })()",
    );
    let answers = "200 200 TypeError: Failed to fetch";
    assert_eq!(world.hears(), ["fetches refused", answers, "200"]);
    world.end_unharmed();
}

#[test]
fn bodies_beyond_the_limit_are_not_sent() {
    let script = "untilRefused(() => fetch('/', { method: 'POST', body: 'x'.repeat(1001) }));";
    is_refused(Limit::Uploads, 1000, script, &["uploads refused", "0 TypeError"]);
}

#[test]
fn a_response_beyond_the_limit_breaks_off() {
    let world = World::with(&[(Limit::Response, 10)], |builder| {
        let body = "x".repeat(11);
        let text = format!(r#"{{"https://api.test": {{"GET /": [{{"body": "{body}"}}]}}}}"#);
        builder.servers(servers(&text))
    });
    world.attack(
        "fetch('https://api.test/').then((response) => response.text())
           .then(console.log, (error) => console.log(`${error}`));",
    );
    assert_eq!(world.hears(), ["response refused", "TypeError: Failed to fetch"]);
    world.end_unharmed();
}

#[test]
fn sockets_beyond_the_limit_are_closed_before_they_are_open() {
    let script = "for (let i = 0; i < 4; i++) {
          new WebSocket(`wss://none.test/${i}`).onerror = () => console.log('closed');
        }";
    let heard = attack(&[(Limit::Sockets, 3)], script);
    assert_eq!(heard, ["sockets refused", "closed", "closed", "closed", "closed"]);
}

#[test]
fn what_exceeds_the_origins_storage_is_not_kept() {
    let script = "untilRefused(async () => {
          const cache = await caches.open('full');
          await cache.put('/', new Response('x'.repeat(100_001)));
        });";
    is_refused(Limit::Storage, 100_000, script, &["storage refused", "0 QuotaExceededError"]);
}

#[test]
fn connections_to_databases_beyond_the_limit_are_refused() {
    let script = "const open = (number) => new Promise((resolve, reject) => {
          const request = indexedDB.open(`db${number}`);
          request.onsuccess = () => resolve();
          request.onerror = () => reject(request.error);
        });
        untilRefused(open);";
    is_refused(Limit::Connections, 3, script, &["connections refused", "3 QuotaExceededError"]);
}

#[test]
fn registrations_beyond_the_limit_are_refused() {
    // One is the bystander's.
    let script = "untilRefused((number) =>
          navigator.serviceWorker.register('/sw.js', { scope: `/${number}/` }));";
    let expected = ["registrations refused", "2 TypeError"];
    is_refused(Limit::Registrations, 3, script, &expected);
}

#[test]
fn many_registrations_at_once_are_refused_beyond_the_limit() {
    let script = "Promise.allSettled(Array.from({ length: 9 }, (_, number) =>
          navigator.serviceWorker.register('/sw.js', { scope: `/${number}/` })))
        .then((all) => console.log(all.filter(({ status }) => status === 'fulfilled').length));";
    is_refused(Limit::Registrations, 3, script, &["registrations refused", "2"]);
}

#[test]
fn syncs_beyond_the_limit_are_refused_and_known_ones_are_not() {
    let script = "(async () => {
          const registration = await navigator.serviceWorker.ready;
          await untilRefused((number) => registration.periodicSync.register(`tag${number}`));
          await registration.periodicSync.register('tag0');
          await untilRefused((number) => registration.sync.register(`tag${number}`));
          await registration.periodicSync.unregister('tag0');
          await registration.periodicSync.register('tag9');
          console.log(...await registration.periodicSync.getTags());
        })()";
    let expected =
        ["syncs refused", "3 QuotaExceededError", "0 QuotaExceededError", "tag1 tag2 tag9"];
    is_refused(Limit::Syncs, 3, script, &expected);
}

#[test]
fn locks_beyond_the_limit_are_refused() {
    let script = "untilRefused((number) => new Promise((granted, refused) => {
          const held = navigator.locks.request(`lock${number}`, () => {
            granted();
            return new Promise(() => {});
          });
          held.catch(refused);
        }));";
    is_refused(Limit::Locks, 3, script, &["locks refused", "3 QuotaExceededError"]);
}

#[test]
fn ports_beyond_the_limit_are_refused() {
    let script = "const all = []; untilRefused(() => { all.push(new MessageChannel()); });";
    is_refused(Limit::Ports, 6, script, &["ports refused", "3 QuotaExceededError"]);
}

#[test]
fn messages_that_nobody_receives_are_refused_beyond_the_limit() {
    let script = "const { port1 } = new MessageChannel();
        untilRefused(() => { port1.postMessage('x'.repeat(3000)); });";
    is_refused(Limit::Messages, 11_000, script, &["messages refused", "3 DataCloneError"]);
}

#[test]
fn pages_beyond_the_limit_are_not_opened() {
    let world = World::start(&[(Limit::Pages, 1)]);
    world.open(BAD, "console.log('first')");
    world.open(BAD, "console.log('second')");
    assert_eq!(world.hears(), ["first", "pages refused"]);
    world.end_unharmed();
}

#[test]
fn a_flood_of_strikes_is_told_once_a_second() {
    let script = "for (let i = 0; i < 1000; i++) try { setTimeout(() => {}, 1e6); } catch {}
        for (let i = 0; i < 1000; i++) fetch('/').catch(() => {});";
    let heard = attack(&[(Limit::Timers, 1), (Limit::Fetches, 1)], script);
    assert_eq!(heard, ["timers refused", "fetches refused"]);
}

#[test]
fn a_strike_is_a_line_of_the_trace_and_an_object_of_its_json() {
    let event = |limit, amount| TraceEvent {
        at_ms: 10_000,
        kind: TraceKind::Limit {
            limit,
            amount,
            subject: kittiwake::LimitSubject::Worker,
            url: "https://app.test/sw.js".to_owned(),
            outcome: kittiwake::LimitOutcome::Terminated,
        },
    };
    let text = event(Limit::EventCpu, 60_000).to_string();
    assert_eq!(text, "10s  limit      event-cpu 1m  worker  https://app.test/sw.js  terminated");
    let json = serde_json::to_string(&event(Limit::Heap, 256 << 20)).expect("it serialises");
    let expected = concat!(
        r#"{"at_ms":10000,"kind":"limit","limit":"heap","amount":268435456,"#,
        r#""subject":"worker","url":"https://app.test/sw.js","outcome":"terminated"}"#
    );
    assert_eq!(json, expected);
}

#[test]
fn a_limit_of_zero_is_a_typed_error() {
    for limit in Limit::ALL {
        let error = Runtime::builder().limit(limit, 0).start().err();
        assert!(
            matches!(&error, Some(Error::Limit(LimitError::TooLittle { .. }))),
            "{limit}: {error:?}"
        );
    }
    let error = Runtime::builder().heap_limit(1000).start().err().expect("it is refused");
    assert_eq!(error.to_string(), "the limit `heap` cannot be 1000; give 16MiB or more");
    let error = Runtime::builder().turn_limit(Duration::ZERO).start().err();
    assert!(matches!(error, Some(Error::Limit(_))), "{error:?}");
}

#[test]
fn a_limit_that_cannot_be_read_names_the_remedy() {
    for (text, remedy) in [
        ("heap=lots", "bytes, as in `64MiB` or `1000`, or `none`"),
        ("heap=99999999999GiB", "bytes, as in `64MiB` or `1000`, or `none`"),
        ("turn=10", "a time, as in `500ms` or `10s`, or `none`"),
        ("fetches=-1", "a number, as in `100`, or `none`"),
        ("fetches=", "a number, as in `100`, or `none`"),
    ] {
        let (name, amount) = text.split_once('=').expect("it has an amount");
        let error = text.parse::<LimitSetting>().expect_err("it is refused").to_string();
        let expected = format!("`{amount}` is no amount for the limit `{name}`; write {remedy}");
        assert_eq!(error, expected);
    }
    let zero = "turn=0s".parse::<LimitSetting>().expect_err("it is refused").to_string();
    assert_eq!(zero, "the limit `turn` cannot be 0s; give 1ms or more");
    let unknown = "hep=1".parse::<LimitSetting>().expect_err("it is refused").to_string();
    assert!(unknown.starts_with("there is no limit `hep`; there are heap, buffers, "), "{unknown}");
}

#[test]
fn security_md_has_the_limits_with_their_defaults() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md"));
    let document = document.expect("it is there");
    let limits = Limits::default();
    for limit in Limit::ALL {
        let row = format!("| `{limit}` | {} |", limit.text_of(limits.of(limit)));
        assert!(document.contains(&row), "SECURITY.md has no row that begins with {row}");
    }
}

#[test]
fn no_limit_is_an_amount_too() {
    let world = World::start(&[(Limit::Turn, u64::MAX), (Limit::Timers, u64::MAX)]);
    world.attack("setTimeout(() => console.log('runs'))");
    assert_eq!(world.hears(), ["runs"]);
    block_on(world.runtime.idle()).expect("it answers");
    world.end_unharmed();
}
