//! A body for two readers: <https://streams.spec.whatwg.org/#abstract-opdef-readablestreamtee>
//!
//! Invariant: each branch gets every chunk, in order; a branch that was dropped keeps nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::stream::LocalBoxStream;
use futures::{Stream, StreamExt};

use super::Body;
use crate::http::HttpError;

type Chunk = Result<Bytes, HttpError>;

/// Splits a body; what is not read of one branch waits in memory while the other is read.
pub(crate) fn tee(body: Body) -> (Body, Body) {
    match body {
        Body::Empty => (Body::Empty, Body::Empty),
        Body::Whole(bytes) => (Body::Whole(bytes.clone()), Body::Whole(bytes)),
        Body::Stream(source) => {
            let shared = Rc::new(RefCell::new(Shared { source, sides: Default::default() }));
            let branch = |side| Body::Stream(Branch { shared: shared.clone(), side }.boxed_local());
            (branch(0), branch(1))
        }
    }
}

struct Shared {
    source: LocalBoxStream<'static, Chunk>,
    sides: [Side; 2],
}

#[derive(Default)]
struct Side {
    /// Chunks, then `None` for the end.
    waiting: VecDeque<Option<Chunk>>,
    reader: Option<Waker>,
    dropped: bool,
}

struct Branch {
    shared: Rc<RefCell<Shared>>,
    side: usize,
}

impl Stream for Branch {
    type Item = Chunk;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let Shared { source, sides } = &mut *self.shared.borrow_mut();
        if let Some(chunk) = sides[self.side].waiting.pop_front() {
            return Poll::Ready(chunk);
        }
        // The source wakes only whoever asked last, who wakes the other.
        sides[self.side].reader = Some(context.waker().clone());
        let Poll::Ready(chunk) = source.poll_next_unpin(context) else { return Poll::Pending };
        let other = &mut sides[1 - self.side];
        if !other.dropped {
            other.waiting.push_back(chunk.clone());
        }
        if let Some(reader) = other.reader.take() {
            reader.wake();
        }
        Poll::Ready(chunk)
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        let sides = &mut self.shared.borrow_mut().sides;
        sides[self.side] = Side { dropped: true, ..Side::default() };
        if let Some(reader) = sides[1 - self.side].reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    fn branches(chunks: &[&'static str]) -> [LocalBoxStream<'static, Chunk>; 2] {
        let chunks: Vec<Chunk> = chunks.iter().map(|text| Ok(Bytes::from(*text))).collect();
        let (one, two) = tee(Body::Stream(iter(chunks).boxed_local()));
        [one, two].map(|body| match body {
            Body::Stream(stream) => stream,
            Body::Empty | Body::Whole(_) => unreachable!("a stream's branches are streams"),
        })
    }

    async fn rest(stream: LocalBoxStream<'static, Chunk>) -> Vec<Bytes> {
        stream.map(|chunk| chunk.expect("the source does not fail")).collect().await
    }

    #[tokio::test]
    async fn both_branches_get_every_chunk() {
        let [one, mut two] = branches(&["a", "b", "c"]);
        assert_eq!(two.next().await, Some(Ok(Bytes::from("a"))));
        assert_eq!(rest(one).await, ["a", "b", "c"]);
        assert_eq!(rest(two).await, ["b", "c"]);
    }

    #[tokio::test]
    async fn a_branch_that_was_dropped_stops_nothing() {
        let [one, two] = branches(&["a", "b"]);
        drop(two);
        assert_eq!(rest(one).await, ["a", "b"]);
    }
}
