//! A value that was read.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A value that was read: bytes, cheap to clone, `Send` and `Sync`.
///
/// ```
/// # fn main() -> zonal::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
/// db.put("k", "some bytes")?;
/// let value: zonal::Value = db.get("k")?.expect("it was just put");
/// assert_eq!(value.len(), 10);
/// assert_eq!(&value[..4], b"some");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    bytes: Arc<[u8]>,
}

impl Value {
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes }
    }

    /// The bytes, copied.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        *self.bytes == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        *self.bytes == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        *self.bytes == **other
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(\"{}\")", self.bytes.escape_ascii())
    }
}
