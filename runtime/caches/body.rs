//! Bodies of cached responses: written and read in pieces, on threads that may wait for the disk.
//!
//! Invariant: no body is in memory whole unless it is small, and a file goes only when its entry is
//! gone and nobody reads it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use deno_core::futures::future::LocalBoxFuture;
use deno_core::futures::stream::{self, LocalBoxStream};
use deno_core::futures::{FutureExt, StreamExt};
use kittiwake_ops::{CacheBody, OpError};
use kittiwake_store::{BodyFolder, BodyId, EntryBody, NewBody, Released, StoreError};
use tokio::sync::{Mutex, Notify};

use crate::activity::Busy;
use crate::host::Shard;

/// Bodies up to this size are kept in the database: a file has to be synced by itself, and its
/// folder too. Larger ones would only pass through the log and be copied at each checkpoint.
const INLINE_BYTES: usize = 32 << 10;

/// How much is written or read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Bodies that are being read or written.
#[derive(Default)]
pub(super) struct OpenBodies {
    read: RefCell<BTreeMap<BodyId, Weak<BodyInUse>>>,
    /// Bytes of each origin in bodies that are not put yet: they count against the quota.
    written: RefCell<BTreeMap<String, u64>>,
    released: RefCell<Vec<(BodyId, Busy)>>,
    has_released: Notify,
}

/// A body that somebody reads, or may.
struct BodyInUse {
    shard: Weak<Shard>,
    folder: BodyFolder,
    id: BodyId,
    /// No entry names it any more.
    released: Cell<bool>,
}

/// A body that is on disk, or will be with its row; dropped before it is kept, it leaves nothing.
pub(crate) struct WrittenBody {
    pub(crate) column: EntryBody,
    file: Option<NewBody>,
}

impl WrittenBody {
    pub(crate) fn null() -> Self {
        Self { column: EntryBody::Null, file: None }
    }

    /// Its entry is committed.
    pub(crate) fn keep(self) {
        if let Some(file) = self.file {
            file.keep();
        }
    }
}

/// A body while a script writes it.
struct Writer {
    shard: Rc<Shard>,
    origin: String,
    /// Pieces come one after the other.
    state: Mutex<WriterState>,
    counted: Cell<u64>,
}

#[derive(Default)]
struct WriterState {
    file: Option<NewBody>,
    waiting: Vec<u8>,
    size: u64,
}

impl CacheBody for Writer {
    fn write(self: Rc<Self>, bytes: Bytes) -> LocalBoxFuture<'static, Result<(), OpError>> {
        async move {
            let mut state = self.state.lock().await;
            self.count(bytes.len() as u64)?;
            state.size += bytes.len() as u64;
            state.waiting.extend_from_slice(&bytes);
            if state.waiting.len() >= PIECE_BYTES {
                self.write_out(&mut state).await?;
            }
            Ok(())
        }
        .boxed_local()
    }
}

impl Writer {
    /// Counts bytes against the quota before they take room on the disk.
    fn count(&self, bytes: u64) -> Result<(), OpError> {
        let shard = &self.shard;
        let used = shard.store.cache_usage(&self.origin);
        let used = used.map_err(|error| shard.cache_error(&error))?;
        let quota = shard.quota_of_caches(&self.origin);
        let mut written = shard.caches.bodies.written.borrow_mut();
        let sum = written.entry(self.origin.clone()).or_default();
        if used.saturating_add(*sum).saturating_add(bytes) > quota {
            shard.strike_storage(&self.origin);
            return Err(OpError::QuotaExceeded);
        }
        *sum += bytes;
        self.counted.set(self.counted.get() + bytes);
        Ok(())
    }

    async fn write_out(&self, state: &mut WriterState) -> Result<(), OpError> {
        let shard = &self.shard;
        let mut file = match state.file.take() {
            Some(file) => file,
            None => shard.store.cache_new_body().map_err(|error| shard.cache_error(&error))?,
        };
        let mut waiting = std::mem::take(&mut state.waiting);
        let written = shard.on_disk_thread(move || {
            file.write(&waiting)?;
            waiting.clear();
            Ok((file, waiting))
        });
        let (file, waiting) = written.await.map_err(|error| shard.cache_error(&error))?;
        state.file = Some(file);
        state.waiting = waiting;
        Ok(())
    }

    async fn finish(&self) -> Result<WrittenBody, OpError> {
        let mut state = self.state.lock().await;
        if state.file.is_none() && state.waiting.len() <= INLINE_BYTES {
            let column = EntryBody::Inline(std::mem::take(&mut state.waiting));
            return Ok(WrittenBody { column, file: None });
        }
        if state.file.is_none() || !state.waiting.is_empty() {
            self.write_out(&mut state).await?;
        }
        let mut file = state.file.take().expect("it was written out");
        let (id, size) = (file.id(), state.size);
        let finished = self.shard.on_disk_thread(move || {
            file.finish()?;
            Ok(file)
        });
        let file = finished.await.map_err(|error| self.shard.cache_error(&error))?;
        Ok(WrittenBody { column: EntryBody::File { id, size }, file: Some(file) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut written = self.shard.caches.bodies.written.borrow_mut();
        if let Some(sum) = written.get_mut(&self.origin) {
            *sum = sum.saturating_sub(self.counted.get());
        }
    }
}

impl Shard {
    pub(crate) fn begin_body(&self, origin: String) -> Rc<dyn CacheBody> {
        Rc::new(self.writer(origin))
    }

    fn writer(&self, origin: String) -> Writer {
        Writer { shard: self.me(), origin, state: Mutex::default(), counted: Cell::new(0) }
    }

    /// Finishes what [`Shard::begin_body`] began.
    pub(crate) async fn finish_body(
        &self,
        body: Rc<dyn CacheBody>,
    ) -> Result<WrittenBody, OpError> {
        let body: Rc<dyn Any> = body;
        let writer = body.downcast::<Writer>().expect("begin_body made it");
        writer.finish().await
    }

    /// Writes a body that a script had in memory.
    pub(crate) async fn whole_body(
        &self,
        origin: &str,
        bytes: Vec<u8>,
    ) -> Result<WrittenBody, OpError> {
        if bytes.len() <= INLINE_BYTES {
            return Ok(WrittenBody { column: EntryBody::Inline(bytes), file: None });
        }
        let writer = self.writer(origin.to_owned());
        writer.count(bytes.len() as u64)?;
        *writer.state.lock().await =
            WriterState { file: None, size: bytes.len() as u64, waiting: bytes };
        writer.finish().await
    }

    /// The chunks of a body in a file.
    pub(crate) fn read_body(
        &self,
        id: BodyId,
    ) -> Result<LocalBoxStream<'static, Result<Bytes, OpError>>, OpError> {
        let body = self.body_in_use(id).map_err(|error| self.cache_error(&error))?;
        let chunks = stream::unfold(Some((body, None)), move |reading| async move {
            let (body, file): (Rc<BodyInUse>, Option<File>) = reading?;
            let (shard, folder) = (body.shard.upgrade()?, body.folder.clone());
            match shard.on_disk_thread(move || read_piece(&folder, id, file)).await {
                Ok((piece, _)) if piece.is_empty() => None,
                Ok((piece, file)) => Some((Ok(piece), Some((body, Some(file))))),
                Err(error) => Some((Err(shard.cache_error(&error)), None)),
            }
        });
        Ok(chunks.boxed_local())
    }

    fn body_in_use(&self, id: BodyId) -> Result<Rc<BodyInUse>, StoreError> {
        let mut read = self.caches.bodies.read.borrow_mut();
        if let Some(body) = read.get(&id).and_then(Weak::upgrade) {
            return Ok(body);
        }
        let folder = self.store.cache_bodies()?;
        let shard = Rc::downgrade(&self.me());
        let body = Rc::new(BodyInUse { shard, folder, id, released: Cell::new(false) });
        read.insert(id, Rc::downgrade(&body));
        Ok(body)
    }

    /// Removes bodies that no entry names any more, or has their last readers do so.
    pub(crate) fn release_bodies(&self, released: Released) {
        for id in released {
            let read = self.caches.bodies.read.borrow().get(&id).and_then(Weak::upgrade);
            match read {
                Some(body) => body.released.set(true),
                None => self.remove_body(id),
            }
        }
    }

    /// Removes released bodies for as long as the shard lives. A task of its own, because the last
    /// reader of a body may let it go where no task can be spawned.
    pub(crate) async fn remove_released_bodies(self: Rc<Self>) {
        let bodies = &self.caches.bodies;
        loop {
            bodies.has_released.notified().await;
            for (id, busy) in bodies.released.take() {
                let removed = match self.store.cache_bodies() {
                    Ok(folder) => self.on_disk_thread(move || folder.remove(id)).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = removed {
                    // The next start removes it.
                    self.trace_store_error(&error);
                }
                drop(busy);
            }
        }
    }

    fn remove_body(&self, id: BodyId) {
        self.caches.bodies.released.borrow_mut().push((id, self.activity.begin()));
        self.caches.bodies.has_released.notify_one();
    }

    /// Runs what waits for the disk where nobody waits for it. A simulation waits here: what takes
    /// real time elsewhere would come back in any order.
    async fn on_disk_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.seed.is_some() {
            return work();
        }
        tokio::task::spawn_blocking(work).await.expect("what works with files does not panic")
    }
}

impl Drop for BodyInUse {
    fn drop(&mut self) {
        let Some(shard) = self.shard.upgrade() else { return };
        shard.caches.bodies.read.borrow_mut().remove(&self.id);
        if self.released.get() {
            shard.remove_body(self.id);
        }
    }
}

/// The next piece, and the file for the one after it; an empty piece is the end.
fn read_piece(
    folder: &BodyFolder,
    id: BodyId,
    file: Option<File>,
) -> Result<(Bytes, File), StoreError> {
    let file = match file {
        Some(file) => file,
        None => folder.open(id)?,
    };
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let read = (&file).take(PIECE_BYTES as u64).read_to_end(&mut piece);
    read.map_err(|source| folder.read_error(id, source))?;
    Ok((piece.into(), file))
}
