//! Parts of Blob and File objects: in memory, or in storage, whence they are read when a script
//! reads them.
//!
//! Invariant: what is in storage is in memory only while it is read, a piece at a time; but what a
//! slice of it has read stays as long as the slice. What a script puts into memory has a bound.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use async_trait::async_trait;
use deno_core::url::Url;
use deno_core::{JsBuffer, OpState, op2};
use deno_web::{Blob, BlobPart, BlobStore, BlobStoreTrait, InMemoryBlobPart};
use uuid::Uuid;

use crate::{Host, OpError};

/// What one read of a script's takes of a stored blob.
const PIECE_BYTES: u64 = 1 << 20;

/// What a part holds that is in storage. It stays readable as long as this.
pub trait StoredBlob: Debug + Send + Sync {
    /// How many bytes it has.
    fn bytes(&self) -> u64;
    /// Whether they are all there.
    fn is_whole(&self) -> bool;
    /// So many from a place on; `None` if they cannot be read.
    fn read(&self, from: u64, length: usize) -> Option<Vec<u8>>;
}

/// The parts that realms of one origin have.
#[derive(Debug, Default)]
pub struct Blobs {
    memory: BlobStore,
    stored: Mutex<BTreeMap<Uuid, Piece>>,
}

/// A piece of a stored part.
#[derive(Clone, Debug)]
struct Piece {
    blob: Arc<dyn StoredBlob>,
    from: u64,
    length: usize,
}

impl Blobs {
    fn stored(&self) -> MutexGuard<'_, BTreeMap<Uuid, Piece>> {
        self.stored.lock().expect("invariant: nobody panics with it")
    }

    /// Adds a part that is in memory: its identifier.
    pub fn insert_bytes(&self, bytes: Vec<u8>) -> Uuid {
        self.memory.insert_part(Arc::new(InMemoryBlobPart::from(bytes)))
    }

    /// Adds a part that is in storage: the identifiers and sizes of its pieces, in their order.
    pub fn insert_stored(&self, blob: &Arc<dyn StoredBlob>) -> Vec<(Uuid, usize)> {
        let mut pieces = Vec::new();
        let mut stored = self.stored();
        for from in (0..blob.bytes()).step_by(PIECE_BYTES as usize) {
            let length = PIECE_BYTES.min(blob.bytes() - from) as usize;
            let id = Uuid::new_v4();
            stored.insert(id, Piece { blob: blob.clone(), from, length });
            pieces.push((id, length));
        }
        pieces
    }
}

impl BlobStoreTrait for Blobs {
    fn insert_part(&self, part: Arc<dyn BlobPart + Send + Sync>) -> Uuid {
        self.memory.insert_part(part)
    }

    fn get_part(&self, id: &Uuid) -> Option<Arc<dyn BlobPart + Send + Sync>> {
        let Some(piece) = self.stored().get(id).cloned() else { return self.memory.get_part(id) };
        // Each time another, so that what it has read goes with whoever asked. A part cannot say
        // that it is not readable; a store can say that it has none.
        let is_whole = piece.blob.is_whole();
        is_whole.then(|| Arc::new(Reading { piece, bytes: OnceLock::new() }) as _)
    }

    fn remove_part(&self, id: &Uuid) -> Option<Arc<dyn BlobPart + Send + Sync>> {
        match self.stored().remove(id) {
            Some(piece) => Some(Arc::new(Reading { piece, bytes: OnceLock::new() })),
            None => self.memory.remove_part(id),
        }
    }

    fn get_object_url(&self, url: Url) -> Option<Arc<Blob>> {
        self.memory.get_object_url(url)
    }

    fn insert_object_url(&self, blob: Blob, location: Option<Url>) -> Url {
        self.memory.insert_object_url(blob, location)
    }

    fn remove_object_url(&self, url: &Url) {
        self.memory.remove_object_url(url);
    }

    fn clear(&self) {
        self.stored().clear();
        self.memory.clear();
    }
}

/// A piece that somebody is about to read.
#[derive(Debug)]
struct Reading {
    piece: Piece,
    bytes: OnceLock<Vec<u8>>,
}

#[async_trait]
impl BlobPart for Reading {
    async fn read<'a>(&'a self) -> &'a [u8] {
        self.bytes.get_or_init(|| {
            let Piece { blob, from, length } = &self.piece;
            // It was whole a moment ago; whoever asks counts on so many bytes.
            blob.read(*from, *length).unwrap_or_else(|| vec![0; *length])
        })
    }

    fn size(&self) -> usize {
        self.piece.length
    }
}

/// Bytes of a blob of a script's, and the room that they take of their origin's until nobody has
/// them.
struct Bounded {
    bytes: Vec<u8>,
    _room: Box<dyn Send + Sync>,
}

impl Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[async_trait]
impl BlobPart for Bounded {
    async fn read<'a>(&'a self) -> &'a [u8] {
        &self.bytes
    }

    fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Stands in for deno_web's `op_blob_create_part`, which takes as much as it gets.
#[op2]
pub fn op_blob_part(state: &mut OpState, #[buffer] data: JsBuffer) -> Result<Uuid, OpError> {
    let (services, realm) = Host::of(state);
    let room = services.blob_room(realm, data.len())?;
    let part = Bounded { bytes: data.to_vec(), _room: room };
    Ok(state.borrow::<Arc<dyn BlobStoreTrait>>().insert_part(Arc::new(part)))
}
