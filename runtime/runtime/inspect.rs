//! What an operator asks a runtime that runs: registrations and syncs page by page, realms, the
//! network, and how much there is of each. Nothing fires and nothing is settled by it.

use std::collections::BTreeMap;
use std::time::Duration;

use kittiwake_ops::{RegistrationState, ServiceWorkerState, WorkerState};
use kittiwake_store::{
    ListedSync, Registration as StoredRegistration, StoreError, SyncPlace, SyncState, SyncType,
    Version, VersionState,
};
use url::Url;

use super::{Error, Runtime};
use crate::host::{RealmOwner, Shard};
use crate::listing::{StoredSync, StoredSyncs};
use crate::network::{Conditions, NetworkState};

/// A registration, with its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationDetail {
    /// Its scope URL, which names it.
    pub scope: String,
    /// Its origin.
    pub origin: String,
    /// When its updates may be answered from the HTTP cache: `imports`, `all` or `none`.
    pub update_via_cache: String,
    /// The worker whose install event is under way. Only this process knows of it.
    pub installing: Option<WorkerDetail>,
    /// The worker that is installed, and waits.
    pub waiting: Option<WorkerDetail>,
    /// The worker that is activating or activated.
    pub active: Option<WorkerDetail>,
}

/// A worker of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDetail {
    /// Its script's URL.
    pub script: String,
    /// `classic` or `module`.
    pub script_type: String,
    /// `parsed`, `installing`, `installed`, `activating`, `activated` or `redundant`.
    pub state: &'static str,
    /// Whether it has a realm now. A worker that sleeps is started for its next event.
    pub is_running: bool,
}

/// A part of the registrations, ordered by the bytes of their scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationPage {
    /// The part.
    pub registrations: Vec<RegistrationDetail>,
    /// Where the next part begins: the `after` to ask for it. None at the end.
    pub next: Option<String>,
}

/// Which syncs are wanted.
#[derive(Clone, Debug, Default)]
pub struct SyncQuery {
    /// Those of this registration alone.
    pub scope: Option<Url>,
    /// Those of this type alone.
    pub kind: Option<SyncType>,
    /// Those in this state alone.
    pub state: Option<SyncState>,
    /// Those after this place, which an earlier page has told.
    pub after: Option<SyncPlace>,
    /// So many at most. Zero counts as one.
    pub limit: usize,
}

/// A part of the syncs: those that fire once before those that fire time and again, ordered by
/// registration and by the tag's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPage {
    /// The part.
    pub part: StoredSyncs,
    /// Where the next part begins. None at the end.
    pub next: Option<SyncPlace>,
}

/// A global scope that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmInfo {
    /// Its number in this process.
    pub number: u32,
    /// Whose it is.
    pub kind: RealmOwnerKind,
    /// The worker's script, or the page's URL.
    pub url: String,
    /// Its origin.
    pub origin: String,
    /// How long ago it was made.
    pub age: Duration,
}

/// Whose global scope a realm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealmOwnerKind {
    /// A service worker's.
    Worker,
    /// A page's.
    Page,
}

/// What requests and syncs meet now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Whether requests leave the machine.
    pub state: NetworkState,
    /// What they meet on the way.
    pub conditions: Conditions,
    /// Whether syncs may fire: the signal is known, and not looking anew.
    pub may_fire: bool,
}

/// How much there is on disk; what is in memory is [`Usage`](crate::Usage).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers that outlive the process, by their states: `installed`, `activating`, `activated`.
    pub workers: BTreeMap<&'static str, u64>,
    /// Syncs by type and state. One that is none is there too, as 0.
    pub syncs: BTreeMap<(SyncType, SyncState), u64>,
}

impl Runtime {
    /// At most `limit` registrations whose scopes come after `after`; from the first one with an
    /// empty text. Costs what it answers, and brings no worker to memory.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn registration_page(
        &self,
        after: String,
        limit: usize,
    ) -> Result<RegistrationPage, Error> {
        let limit = limit.max(1);
        let pages = self.ask_all(move |shard| async move {
            shard.registration_page(&after, limit).map_err(Error::from)
        });
        let pages = pages.await?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut is_last = pages.iter().all(|page| page.next.is_none());
        let mut registrations: Vec<_> =
            pages.into_iter().flat_map(|page| page.registrations).collect();
        registrations.sort_by(|a, b| a.scope.cmp(&b.scope));
        is_last &= registrations.len() <= limit;
        registrations.truncate(limit);
        let next = registrations.last().filter(|_| !is_last).map(|each| each.scope.clone());
        Ok(RegistrationPage { registrations, next })
    }

    /// The registration of `scope`, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn registration(&self, scope: Url) -> Result<Option<RegistrationDetail>, Error> {
        let number = self.shard_for(&scope);
        self.ask_shard(number, move |shard| async move {
            let found = shard.registration(scope.as_str());
            found.map(|found| shard.detail(&found.origin, found.describe()))
        })
        .await
    }

    /// Syncs as they stand on disk, page by page: a million of them do not have to be in memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`] for a scope that is not registered, [`Error::Store`].
    pub async fn sync_page(&self, query: SyncQuery) -> Result<SyncPage, Error> {
        let shards = self.shards.len();
        let asked = match &query.scope {
            Some(scope) => self.shard_for(scope)..self.shard_for(scope) + 1,
            None => 0..shards,
        };
        let mut parts = Vec::new();
        for number in asked {
            let query = query.clone();
            let page = self.ask_shard(number, move |shard| async move {
                shard.sync_part(query.of_shard(number, shards))
            });
            parts.push(page.await??.of_all(number, shards));
        }
        Ok(merged(parts, query.limit.max(1)))
    }

    /// The realms that run, oldest first.
    pub async fn realms(&self) -> Result<Vec<RealmInfo>, Error> {
        let shards = self.shards.len() as u32;
        let mut all = Vec::new();
        for number in 0..self.shards.len() {
            let realms = self.ask_shard(number, |shard| async move { shard.realm_infos() });
            let own = realms
                .await?
                .into_iter()
                .map(|realm| RealmInfo { number: realm.number * shards + number as u32, ..realm });
            all.extend(own);
        }
        all.sort_by_key(|realm| std::cmp::Reverse(realm.age));
        Ok(all)
    }

    /// What the network signal says.
    pub async fn network(&self) -> Result<NetworkStatus, Error> {
        self.ask(|shard| async move {
            NetworkStatus {
                state: shard.network.get(),
                conditions: shard.conditions.borrow().clone(),
                may_fire: shard.may_fire_syncs(),
            }
        })
        .await
    }

    /// How much there is on disk. Reads indexes on the host thread; a million syncs take some
    /// hundredths of a second, so do not ask all the time.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        let mut sum = Counts::default();
        for counts in self.ask_all(|shard| async move { shard.counts() }).await? {
            sum.add(counts?);
        }
        Ok(sum)
    }
}

const STATES: [SyncState; 4] =
    [SyncState::Pending, SyncState::Waiting, SyncState::Firing, SyncState::ReregisteredWhileFiring];

impl Counts {
    fn add(&mut self, other: Counts) {
        for (state, count) in other.workers {
            *self.workers.entry(state).or_default() += count;
        }
        for (key, count) in other.syncs {
            *self.syncs.entry(key).or_default() += count;
        }
    }
}

/// Numbers of registrations are a shard's own. In listings of all, each has the number that it is
/// times the number of shards, and its shard's.
impl SyncQuery {
    /// What a shard is to be asked.
    fn of_shard(&self, number: usize, shards: usize) -> SyncQuery {
        let mut own = self.clone();
        if let Some(after) = &mut own.after {
            let (shards, number) = (shards as i64, number as i64);
            let place = after.registration.0;
            if place.rem_euclid(shards) != number {
                // After every tag of the registration before.
                after.tag = "\u{10FFFF}".repeat(MAX_TAG_BYTES / 4 + 1);
            }
            after.registration.0 = (place - number).div_euclid(shards);
        }
        own
    }
}

/// No tag that is stored has more bytes.
const MAX_TAG_BYTES: usize = 10_240;

/// A shard's part of a page, each with its place among all.
struct SyncPart {
    now_ms: i64,
    syncs: Vec<(SyncPlace, StoredSync)>,
    is_last: bool,
}

impl SyncPart {
    fn of_all(mut self, number: usize, shards: usize) -> SyncPart {
        for (place, _) in &mut self.syncs {
            place.registration.0 = place.registration.0 * shards as i64 + number as i64;
        }
        self
    }
}

/// The first of all, by their places.
fn merged(parts: Vec<SyncPart>, limit: usize) -> SyncPage {
    let now_ms = parts.first().map_or(0, |part| part.now_ms);
    let mut is_last = parts.iter().all(|part| part.is_last);
    let mut syncs: Vec<_> = parts.into_iter().flat_map(|part| part.syncs).collect();
    let key = |place: &SyncPlace| (place.kind, place.registration, place.tag.clone());
    syncs.sort_by_cached_key(|(place, _)| key(place));
    is_last &= syncs.len() <= limit;
    syncs.truncate(limit);
    let next = syncs.last().filter(|_| !is_last).map(|(place, _)| place.clone());
    let syncs = syncs.into_iter().map(|(_, sync)| sync).collect();
    SyncPage { part: StoredSyncs { now_ms, syncs }, next }
}

impl Shard {
    fn realm_infos(&self) -> Vec<RealmInfo> {
        let realms = self.realms.borrow();
        let info = realms.iter().map(|(id, handle)| {
            let (kind, url, origin) = match &handle.owner {
                RealmOwner::Worker(worker) => {
                    (RealmOwnerKind::Worker, worker.script_url.clone(), &worker.origin)
                }
                RealmOwner::Page(page) => {
                    let url = page.document_url.borrow().to_string();
                    (RealmOwnerKind::Page, url, &page.origin)
                }
            };
            let age = self.realm_age(*id);
            RealmInfo { number: id.0, kind, url, origin: origin.clone(), age }
        });
        info.collect()
    }

    fn registration_page(&self, after: &str, limit: usize) -> Result<RegistrationPage, StoreError> {
        // One more, which says whether there is a next page.
        let stored = self.store.registration_page(after, limit + 1)?;
        let mut by_scope: BTreeMap<String, RegistrationDetail> = BTreeMap::new();
        for registration in stored {
            by_scope.insert(registration.scope.clone(), stored_detail(registration));
        }
        // What is in memory knows more; and of a first install, the store knows nothing yet.
        let last = by_scope.keys().next_back().filter(|_| by_scope.len() > limit).cloned();
        for registration in self.registrations_in_memory() {
            let scope = &registration.scope;
            let is_here = scope.as_str() > after && last.as_ref().is_none_or(|last| scope <= last);
            if is_here {
                let detail = self.detail(&registration.origin, registration.describe());
                by_scope.insert(scope.clone(), detail);
            }
        }
        let mut registrations: Vec<_> = by_scope.into_values().collect();
        let is_last = registrations.len() <= limit;
        registrations.truncate(limit);
        let next = registrations.last().filter(|_| !is_last).map(|each| each.scope.clone());
        Ok(RegistrationPage { registrations, next })
    }

    fn detail(&self, origin: &str, state: RegistrationState) -> RegistrationDetail {
        let describe = |worker: Option<ServiceWorkerState>| {
            worker.map(|worker| WorkerDetail {
                is_running: self.worker(worker.id).is_some_and(|it| it.realm.get().is_some()),
                script: worker.script_url,
                script_type: worker.script_type,
                state: state_word(worker.state),
            })
        };
        RegistrationDetail {
            scope: state.scope,
            origin: origin.to_owned(),
            update_via_cache: state.update_via_cache,
            installing: describe(state.installing),
            waiting: describe(state.waiting),
            active: describe(state.active),
        }
    }

    fn sync_part(&self, query: SyncQuery) -> Result<SyncPart, Error> {
        self.flush_commits();
        let SyncQuery { scope, kind, state, after, limit } = query;
        let (limit, now_ms) = (limit.max(1), self.now_ms());
        let registration = match scope {
            None => None,
            Some(scope) => {
                let found = self.registration(scope.as_str());
                let id = found.and_then(|registration| registration.id.get());
                Some(id.ok_or(Error::NoWorker { scope: scope.to_string() })?)
            }
        };
        let mut listed = Vec::new();
        for each in [SyncType::OneShot, SyncType::Periodic] {
            let is_past = after.as_ref().is_some_and(|after| each < after.kind);
            if is_past || kind.is_some_and(|kind| kind != each) {
                continue;
            }
            let after = after.as_ref().filter(|after| after.kind == each);
            let after = after.map(|after| (after.registration, after.tag.as_str()));
            let wanted = limit + 1 - listed.len();
            listed.extend(self.store.sync_page(
                each,
                registration,
                state,
                after,
                wanted,
                now_ms,
            )?);
        }
        let is_last = listed.len() <= limit;
        listed.truncate(limit);
        let syncs = listed.into_iter().map(|sync| (sync.place.clone(), listed_sync(sync)));
        Ok(SyncPart { now_ms, syncs: syncs.collect(), is_last })
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        self.flush_commits();
        let now_ms = self.now_ms();
        let mut counts = Counts::default();
        for (state, count) in self.store.version_counts()? {
            counts.workers.insert(state.as_str(), count);
        }
        for kind in [SyncType::OneShot, SyncType::Periodic] {
            for state in STATES {
                let count = self.store.sync_count(kind, state, now_ms)?;
                counts.syncs.insert((kind, state), count);
            }
        }
        Ok(counts)
    }
}

fn listed_sync(sync: ListedSync) -> StoredSync {
    StoredSync {
        origin: sync.origin,
        scope: sync.scope,
        tag: sync.place.tag,
        kind: sync.place.kind,
        state: sync.state,
        failed_attempts: sync.attempts,
        due_at_ms: sync.due_at_ms,
    }
}

/// Of a registration that nobody has asked for in this process.
fn stored_detail(registration: StoredRegistration) -> RegistrationDetail {
    let describe = |version: Option<Version>| {
        version.map(|version| WorkerDetail {
            script: version.script_url,
            script_type: version.script_type.to_string(),
            state: match version.state {
                VersionState::Installed => "installed",
                VersionState::Activating => "activating",
                VersionState::Activated => "activated",
            },
            is_running: false,
        })
    };
    RegistrationDetail {
        scope: registration.scope,
        origin: registration.origin,
        update_via_cache: registration.update_via_cache.to_string(),
        installing: None,
        waiting: describe(registration.waiting),
        active: describe(registration.active),
    }
}

fn state_word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Parsed => "parsed",
        WorkerState::Installing => "installing",
        WorkerState::Installed => "installed",
        WorkerState::Activating => "activating",
        WorkerState::Activated => "activated",
        WorkerState::Redundant => "redundant",
    }
}
