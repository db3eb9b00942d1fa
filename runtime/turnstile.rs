//! How many requests and events the world may have under way: whoever brings one more waits
//! outside, where waiting costs Kittiwake nothing.
//!
//! Invariant: no more are let in than the limits say, in all and of one origin; of the origins that
//! wait each has its turn.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// How many may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admissions {
    pub(crate) total: usize,
    pub(crate) per_origin: usize,
}

impl Default for Admissions {
    fn default() -> Self {
        Admissions { total: 1024, per_origin: 256 }
    }
}

/// One for all handles of a runtime. Clones are the same.
#[derive(Clone)]
pub(crate) struct Turnstile(Arc<Shared>);

struct Shared {
    limits: Admissions,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    inside: usize,
    waiting: usize,
    /// Those that have anybody inside or waiting.
    origins: BTreeMap<String, Lane>,
    /// Whose turn was the last.
    last: String,
}

#[derive(Default)]
struct Lane {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Admission>>,
}

/// One is under way, until this is dropped.
pub(crate) struct Admission {
    turnstile: Turnstile,
    origin: String,
}

impl Turnstile {
    pub(crate) fn new(limits: Admissions) -> Self {
        Turnstile(Arc::new(Shared { limits, queue: Mutex::default() }))
    }

    /// Waits for its turn. Whoever does not wait to the end has not been there.
    pub(crate) async fn enter(&self, origin: String) -> Admission {
        let waiting = {
            let mut queue = self.lock();
            let Queue { inside, waiting, origins, .. } = &mut *queue;
            let lane = origins.entry(origin.clone()).or_default();
            let has_room = *inside < self.0.limits.total
                && lane.inside < self.0.limits.per_origin
                && lane.waiting.is_empty();
            if has_room {
                *inside += 1;
                lane.inside += 1;
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                *waiting += 1;
                lane.waiting.push_back(sender);
                Some(receiver)
            }
        };
        match waiting {
            None => Admission { turnstile: self.clone(), origin },
            Some(turn) => turn.await.expect("invariant: whoever waits is let in"),
        }
    }

    fn leave(&self, origin: &str) {
        let mut queue = self.lock();
        queue.inside -= 1;
        let lane = queue.origins.get_mut(origin).expect("invariant: it is inside");
        lane.inside -= 1;
        queue.forget_if_empty(origin);
        let next = queue.next(self.0.limits);
        drop(queue);
        if let Some((origin, sender)) = next {
            // Whoever has gone in this very moment leaves at once, for the next one.
            let _ = sender.send(Admission { turnstile: self.clone(), origin });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().expect("no holder of this lock panics")
    }
}

impl Queue {
    /// Lets in whoever waits longest of the next origin that may have one more.
    fn next(&mut self, limits: Admissions) -> Option<(String, oneshot::Sender<Admission>)> {
        while self.waiting > 0 && self.inside < limits.total {
            let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
            let around = self.origins.range::<str, _>(after).chain(self.origins.iter());
            let may_enter =
                |lane: &Lane| !lane.waiting.is_empty() && lane.inside < limits.per_origin;
            let (origin, _) = around.into_iter().find(|(_, lane)| may_enter(lane))?;
            let origin = origin.clone();
            let lane = self.origins.get_mut(&origin).expect("it was found");
            let sender = lane.waiting.pop_front().expect("it was not empty");
            self.waiting -= 1;
            if sender.is_closed() {
                self.forget_if_empty(&origin);
                continue;
            }
            lane.inside += 1;
            self.inside += 1;
            self.last = origin.clone();
            return Some((origin, sender));
        }
        None
    }

    fn forget_if_empty(&mut self, origin: &str) {
        if self.origins.get(origin).is_some_and(|it| it.inside == 0 && it.waiting.is_empty()) {
            self.origins.remove(origin);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.turnstile.leave(&self.origin);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::LocalBoxFuture;

    use super::*;

    fn turnstile(total: usize, per_origin: usize) -> Turnstile {
        Turnstile::new(Admissions { total, per_origin })
    }

    fn enter(turnstile: &Turnstile, origin: &str) -> LocalBoxFuture<'static, Admission> {
        let (turnstile, origin) = (turnstile.clone(), origin.to_owned());
        async move { turnstile.enter(origin).await }.boxed_local()
    }

    #[test]
    fn origins_that_wait_take_turns_however_many_wait_of_one() {
        let turnstile = turnstile(1, 1);
        let mut inside = Some(block_on(turnstile.enter("a".into())));
        let asked = ["a", "a", "a", "b", "c", "b"];
        let mut waiting: Vec<_> =
            asked.iter().map(|origin| (*origin, enter(&turnstile, origin))).collect();
        for (_, entered) in &mut waiting {
            assert!(entered.now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(inside.take());
            let mut next = None;
            for (index, (_, entered)) in waiting.iter_mut().enumerate() {
                if let Some(admission) = entered.now_or_never() {
                    next = Some((index, admission));
                    break;
                }
            }
            let (index, admission) = next.expect("one is let in");
            order.push(waiting.remove(index).0);
            inside = Some(admission);
        }
        assert_eq!(order, ["a", "b", "c", "a", "b", "a"]);
    }

    #[test]
    fn one_origin_leaves_room_for_others() {
        let turnstile = turnstile(3, 2);
        let own = [block_on(turnstile.enter("a".into())), block_on(turnstile.enter("a".into()))];
        let mut third = enter(&turnstile, "a");
        assert!((&mut third).now_or_never().is_none());
        let other = enter(&turnstile, "b").now_or_never();
        assert!(other.is_some());
        drop(own);
        assert!((&mut third).now_or_never().is_some());
    }

    #[test]
    fn whoever_does_not_wait_to_the_end_has_not_been_there() {
        let turnstile = turnstile(1, 1);
        let inside = block_on(turnstile.enter("a".into()));
        let mut given_up = enter(&turnstile, "a");
        assert!((&mut given_up).now_or_never().is_none());
        let mut patient = enter(&turnstile, "a");
        assert!((&mut patient).now_or_never().is_none());
        drop(given_up);
        drop(inside);
        let entered = (&mut patient).now_or_never();
        assert!(entered.is_some());
        drop(entered);
        // Nothing is left of any of them.
        let queue = turnstile.lock();
        assert!(queue.origins.is_empty());
        assert_eq!((queue.inside, queue.waiting), (0, 0));
    }
}
