//! A world whose thread does not come back: a script holds it, or V8 has failed there.
//!
//! Invariant: nobody waits for such a thread, so that the other worlds go on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SetOnce, oneshot};

use crate::runtime::{Builder, Error, Runtime, UnsettledSync};
use crate::scenario::{Scenario, ScenarioError};

/// How long a turn may take to end when it is told to. One that takes longer is in a function of
/// V8's that nobody can interrupt.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a world's thread does not come back, once it is known.
#[derive(Clone, Default)]
pub(super) struct GivenUp(Arc<SetOnce<Error>>);

impl GivenUp {
    /// A builder of a world that is given up rather than the process.
    pub(super) fn watch(&self, builder: Builder) -> Builder {
        let (stuck, failed) = (self.clone(), self.clone());
        builder
            .on_stuck_turn(PATIENCE, move || stuck.because(Error::Stuck))
            .outlive_engine(move |why| failed.because(Error::EngineFailed(why.to_owned())))
    }

    /// Ends the world, unless there is nothing that could end.
    pub(super) async fn close(&self, runtime: Runtime) -> Result<(), Error> {
        match self.0.get() {
            Some(why) => Err(why.clone()),
            None => self.unless(runtime.shut_down()).await,
        }
    }

    /// Asks for what may not end, and tells it after `limit` of real time that it has to.
    pub(super) async fn cut_off_after<R>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(oneshot::Receiver<()>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (cut, cut_off) = oneshot::channel();
        let mut answer = pin!(ask(cut_off));
        if let Ok(answer) = tokio::time::timeout(limit, self.unless(&mut answer)).await {
            return answer;
        }
        drop(cut);
        self.unless(answer).await
    }

    /// What `answer` resolves to, unless it never will.
    async fn unless<R, E: From<Error>>(
        &self,
        answer: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        tokio::select! {
            biased;
            answer = answer => answer,
            why = self.0.wait() => Err(why.clone().into()),
        }
    }

    fn because(&self, why: Error) {
        // The first reason is the one that is told.
        let _ = self.0.set(why);
    }
}

impl Scenario {
    /// As [`Scenario::run`], for a test among others: when the scenario's thread does not come
    /// back, it is given up, and the process lives on.
    ///
    /// # Errors
    ///
    /// As [`Scenario::run`].
    pub async fn run_as_test(self, builder: Builder) -> Result<Vec<UnsettledSync>, ScenarioError> {
        let given_up = GivenUp::default();
        given_up.unless(self.run(given_up.watch(builder))).await
    }
}

#[cfg(test)]
mod tests {
    use deno_core::v8;

    use super::*;

    #[tokio::test]
    async fn v8s_failure_costs_a_world_and_not_the_process() {
        let world = || {
            let given_up = GivenUp::default();
            let runtime = given_up.watch(Runtime::builder().simulated(1)).start();
            (runtime.expect("it starts"), given_up)
        };
        let (lost, given_up) = world();
        let failed = given_up.cut_off_after(Duration::MAX, async |_| {
            // V8 ends the process of whoever gives it flags so late.
            lost.ask(|_| async { v8::V8::set_flags_from_string("--stack-size=900") }).await
        });
        let error = failed.await.expect_err("the thread does not come back");
        assert!(error.to_string().starts_with("V8 failed ("), "{error}");
        let error = given_up.close(lost).await.expect_err("nobody answers");
        assert!(matches!(error, Error::EngineFailed(_)), "{error}");
        let (other, given_up) = world();
        given_up.close(other).await.expect("it lives and ends");
    }
}
