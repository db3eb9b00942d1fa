//! Blobs that are in memory: deno_web's, but for a bound. <https://w3c.github.io/FileAPI/#blob-section>

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use deno_core::{JsBuffer, OpState, op2};
use deno_web::{BlobPart, BlobStoreTrait};
use uuid::Uuid;

use crate::{Host, OpError};

/// Bytes of a blob, and the room that they take of their origin's until nobody has them.
struct Part {
    bytes: Vec<u8>,
    _room: Box<dyn Send + Sync>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl BlobPart for Part {
    fn read<'a, 'b>(&'a self) -> Pin<Box<dyn Future<Output = &'a [u8]> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(ready(&self.bytes[..]))
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
    let part = Part { bytes: data.to_vec(), _room: room };
    Ok(state.borrow::<Arc<dyn BlobStoreTrait>>().insert_part(Arc::new(part)))
}
