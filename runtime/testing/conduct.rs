//! Runs a test: gives its page an order, and answers what the page asks meanwhile.
//!
//! Invariant: one question is answered after the other, each in a quiet world; time passes only
//! while one is being answered, but for one tick when nothing else is left.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::RealmId;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{TestCase, TestFailure, TestPage};
use crate::host::Shard;
use crate::quiet::quiet;
use crate::realm::Call;

/// What the timer of a simulated clock tells apart.
const TICK: Duration = Duration::from_millis(1);

/// What the page is to do.
#[derive(Serialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(super) enum Order {
    /// To declare its tests.
    List,
    /// To run one of them.
    Run { number: usize, name: String },
    /// To do what a test outside asks for.
    Do { request: u64, verb: String, arguments: Vec<Value> },
}

/// What came of an order.
pub(super) enum Conducted {
    Declared(Vec<TestCase>),
    Ended(Vec<TestFailure>),
    Unfinished(Unfinished),
}

/// Why a test has no end.
pub(super) enum Unfinished {
    /// Nothing is left to happen unless time passes.
    Stuck,
    /// It took too much real time.
    TimedOut,
    /// Its realm is gone.
    PageEnded,
}

/// Gives an order and sees to its end; `cut_off` tells that there was time enough.
pub(super) async fn conduct(
    shard: Rc<Shard>,
    realm: RealmId,
    order: Order,
    mut cut_off: oneshot::Receiver<()>,
) -> Conducted {
    let page = shard.test_page().expect("invariant: a world with a test has its page");
    page.begin(&order);
    let text = serde_json::to_string(&order).expect("our own types serialise");
    shard.call_realm(realm, Call::TestMessage { id: 0, text });
    tokio::select! {
        biased;
        _ = &mut cut_off => Conducted::Unfinished(Unfinished::TimedOut),
        conducted = follow(&shard, &page, realm) => conducted,
    }
}

async fn follow(shard: &Rc<Shard>, page: &TestPage, realm: RealmId) -> Conducted {
    loop {
        quiet().await;
        if let Some(tests) = page.declared.take() {
            return Conducted::Declared(tests);
        }
        if let Some(failures) = page.ended.take() {
            return Conducted::Ended(failures);
        }
        if shard.realm_owner(realm).is_none() {
            return Conducted::Unfinished(Unfinished::PageEnded);
        }
        if go_on(shard, page, realm).await.is_break() {
            return Conducted::Unfinished(Unfinished::Stuck);
        }
    }
}

/// Answers the page's next question in a quiet world, or lets a tick pass. Breaks off where nothing
/// is left to happen unless time passes.
pub(super) async fn go_on(shard: &Rc<Shard>, page: &TestPage, realm: RealmId) -> ControlFlow<()> {
    let asked = page.asks.borrow_mut().pop_front();
    let Some((id, question)) = asked else {
        // A timer of no time needs a tick, as everybody knows it to.
        let before = shard.turns.count.get();
        tokio::time::sleep(TICK).await;
        quiet().await;
        return match shard.turns.count.get() == before {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
    };
    let answer = match shard.answer_test(page, &question).await {
        Ok(value) => serde_json::json!({ "value": value }),
        Err(error) => serde_json::json!({ "error": error }),
    };
    quiet().await;
    shard.call_realm(realm, Call::TestMessage { id, text: answer.to_string() });
    ControlFlow::Continue(())
}
