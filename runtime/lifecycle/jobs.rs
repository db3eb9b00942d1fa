//! The job queue: <https://w3c.github.io/ServiceWorker/#dfn-job-queue>
//!
//! Invariant: the jobs of one scope run one after the other, in the order in which they came; each
//! is answered once, also when it asks for what the last one in the queue does already.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_local;

use super::Registration;
use super::refusal::RegisterError;
use super::register::RegisterJob;
use super::update::UpdateJob;
use crate::host::Shard;

/// <https://w3c.github.io/ServiceWorker/#dfn-job>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Register(RegisterJob),
    Update(UpdateJob),
    Unregister,
}

/// What a job came to.
#[derive(Clone)]
pub(crate) enum Done {
    /// The registration, and the install that goes on if there is a new worker.
    Registration(Rc<Registration>, Option<Installation>),
    /// Whether there was a registration.
    Unregistered(bool),
}

/// How an install ended, once it has.
pub(crate) type Installation = watch::Receiver<Option<Result<(), RegisterError>>>;

pub(crate) type JobResult = Result<Done, RegisterError>;

/// What [`Done::Registration`] has.
pub(crate) type Registered = Result<(Rc<Registration>, Option<Installation>), RegisterError>;

/// A job in its queue.
pub(super) struct Queued {
    job: Job,
    promise: RefCell<Promise>,
}

/// <https://w3c.github.io/ServiceWorker/#dfn-job-promise>
enum Promise {
    Pending(Vec<oneshot::Sender<JobResult>>),
    Settled(JobResult),
}

impl Queued {
    /// Whether it answers whoever asks for this job. What was unregistered may be unregistered
    /// again, in vain.
    fn does(&self, job: &Job) -> bool {
        let is_over = matches!(*self.promise.borrow(), Promise::Settled(_));
        self.job == *job && !(is_over && *job == Job::Unregister)
    }

    fn join(&self, waiter: oneshot::Sender<JobResult>) {
        match &mut *self.promise.borrow_mut() {
            Promise::Pending(waiters) => waiters.push(waiter),
            // As in Chromium: while the first worker installs, whoever asks for the same is
            // answered at once. Whoever asked may have gone.
            Promise::Settled(result) => drop(waiter.send(result.clone())),
        }
    }

    /// Answers whoever waits. A job settles once; what follows that is nobody's to hear.
    pub(super) fn settle(&self, result: JobResult) {
        let settled = Promise::Settled(result.clone());
        if let Promise::Pending(waiters) = self.promise.replace(settled) {
            for waiter in waiters {
                // Whoever asked may have gone.
                let _ = waiter.send(result.clone());
            }
        }
    }
}

/// The queues, by scope.
#[derive(Default)]
pub(crate) struct Jobs(RefCell<BTreeMap<String, VecDeque<Rc<Queued>>>>);

impl Jobs {
    fn first(&self, scope: &str) -> Option<Rc<Queued>> {
        self.0.borrow().get(scope)?.front().cloned()
    }

    /// Adds a job; whether it is the first one.
    fn push(&self, scope: &str, job: Job, waiter: oneshot::Sender<JobResult>) -> bool {
        let mut queues = self.0.borrow_mut();
        let queue = queues.entry(scope.to_owned()).or_default();
        if let Some(last) = queue.back().filter(|last| last.does(&job)) {
            last.join(waiter);
            return false;
        }
        let promise = RefCell::new(Promise::Pending(vec![waiter]));
        queue.push_back(Rc::new(Queued { job, promise }));
        queue.len() == 1
    }

    /// <https://w3c.github.io/ServiceWorker/#finish-job>
    fn finish_first(&self, scope: &str) {
        let mut queues = self.0.borrow_mut();
        let queue = queues.get_mut(scope).expect("invariant: a job that runs is in its queue");
        queue.pop_front();
        if queue.is_empty() {
            queues.remove(scope);
        }
    }
}

impl Shard {
    /// Puts a job into the queue of its scope; the answer comes when its promise settles.
    /// <https://w3c.github.io/ServiceWorker/#schedule-job>
    pub(crate) fn schedule(&self, scope: &str, job: Job) -> LocalBoxFuture<'static, JobResult> {
        let (waiter, answer) = oneshot::channel();
        if self.jobs.push(scope, job, waiter) {
            spawn_local(self.me().run_jobs(scope.to_owned()));
        }
        async move { answer.await.expect("invariant: a job is answered") }.boxed_local()
    }

    async fn run_jobs(self: Rc<Self>, scope: String) {
        let _busy = self.activity.begin();
        while let Some(queued) = self.jobs.first(&scope) {
            match &queued.job {
                Job::Register(job) => self.run_register(&scope, job, &queued).await,
                Job::Update(job) => self.run_update(&scope, job, &queued).await,
                Job::Unregister => self.run_unregister(&scope, &queued).await,
            }
            self.jobs.finish_first(&scope);
        }
    }
}
