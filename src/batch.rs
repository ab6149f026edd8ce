//! Writes that survive a crash together or not at all.

/// Puts and deletes that survive a crash together or not at all.
///
/// They take effect in the order in which they were added: of several for one key the last one counts. Readers may see
/// the first of them a moment before the last while the batch is being published.
///
/// ```
/// # fn main() -> zonal::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let db = zonal::Db::open(directory.path().join("d.zonal"), zonal::Options::default())?;
/// let mut batch = zonal::WriteBatch::new();
/// batch.put("a", "1");
/// batch.delete("b");
/// assert_eq!(batch.len(), 2);
/// db.write(batch)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    writes: Vec<Write>,
}

/// A key, and its new value or `None` to delete it.
type Write = (Box<[u8]>, Option<Box<[u8]>>);

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put. The key must be 1 to 65,535 bytes and the value at most 1 GiB; [`crate::Db::write`] checks.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.writes.push((key.as_ref().into(), Some(value.as_ref().into())));
    }

    /// Adds a delete.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.writes.push((key.as_ref().into(), None));
    }

    /// How many puts and deletes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (&**key, value.as_deref()))
    }
}
