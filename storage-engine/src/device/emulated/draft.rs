//! A file that is given its name when it is whole, so that nobody ever finds half a device.
//!
//! Invariants:
//! - At the path there is nothing, or what was there before, until [`Draft::publish`]; from then on the whole file, on
//!   stable media. Naming never replaces anything.
//! - A process that ends before leaves no trace: the file has no name (`O_TMPFILE`). Where the file system has no nameless
//!   files it lies beside the path as `.<name>.unfinished`, which the next one to make a file at the path takes over.
//! - Whoever makes the file holds its lock from the first byte until the last descriptor is closed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use super::Access;
use super::opening::failure;
use crate::device::{DeviceError, DeviceResult, lock};

const PRIVATE_MODE: u32 = 0o600;
#[expect(clippy::cast_possible_wrap, reason = "open flags are bits in a C int")]
const NAMELESS_FLAG: i32 = OFlags::TMPFILE.bits() as i32;
#[expect(clippy::cast_possible_wrap, reason = "open flags are bits in a C int")]
const NO_SYMLINK_FLAG: i32 = OFlags::NOFOLLOW.bits() as i32;

/// A file in the making, locked, readable and writable by its owner only.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    /// The name it has meanwhile, if it needs one.
    unfinished: Option<PathBuf>,
}

impl Draft {
    /// Begins an empty file that is to be named `path`.
    ///
    /// # Errors
    /// [`DeviceError::AlreadyExists`], [`DeviceError::NotFound`] for the directory, [`DeviceError::Locked`] when somebody
    /// else is at it, [`DeviceError::Io`].
    pub(super) fn begin(path: &Path) -> DeviceResult<Self> {
        // A link that leads nowhere is something, too.
        if fs::symlink_metadata(path).is_ok() {
            return Err(DeviceError::AlreadyExists { path: path.to_owned() });
        }
        match open_nameless(path)? {
            Some(file) => {
                lock::take(&file, path, Access::ReadWrite)?;
                Ok(Self { file, path: path.to_owned(), unfinished: None })
            }
            None => Self::begin_named(path),
        }
    }

    /// The same where files need names.
    pub(super) fn begin_named(path: &Path) -> DeviceResult<Self> {
        let unfinished = unfinished_path(path)?;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.mode(PRIVATE_MODE).custom_flags(NO_SYMLINK_FLAG);
            let file = options.open(&unfinished).map_err(creation_failure(path))?;
            lock::take(&file, path, Access::ReadWrite)?;
            // Whoever had it locked may have named it, or removed it, before the lock came here.
            if is_named(&file, &unfinished) {
                file.set_len(0).map_err(failure("emptying what is left of", path))?;
                return Ok(Self { file, path: path.to_owned(), unfinished: Some(unfinished) });
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, durably. The lock stays with the file that is returned.
    ///
    /// # Errors
    /// [`DeviceError::AlreadyExists`] when something has taken the name meanwhile; [`DeviceError::Io`]. There is nothing of
    /// ours at the path then.
    pub(super) fn publish(mut self) -> DeviceResult<File> {
        self.file.sync_all().map_err(failure("flushing", &self.path))?;
        match &self.unfinished {
            None => name_nameless(&self.file, &self.path),
            Some(unfinished) => rename(unfinished, &self.path),
        }
        .map_err(creation_failure(&self.path))?;
        self.unfinished = None;
        sync_directory_of(&self.path).map_err(failure("entering into its directory", &self.path))?;
        self.file.try_clone().map_err(failure("opening", &self.path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // Whoever comes next takes over what cannot be removed.
            let _ = fs::remove_file(unfinished);
        }
    }
}

/// A file without a name in the directory of `path`; `None` where that cannot be, or not be named later.
fn open_nameless(path: &Path) -> DeviceResult<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(NAMELESS_FLAG).mode(PRIVATE_MODE);
    let file = match options.open(directory_of(path)) {
        Ok(file) => file,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
                _ => Err(creation_failure(path)(error)),
            };
        }
    };
    Ok(descriptor_path(&file).exists().then_some(file))
}

/// The name that the process itself knows an open file by.
fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn name_nameless(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, descriptor_path(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Renames a file unless the name is taken.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

fn unfinished_path(path: &Path) -> DeviceResult<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(DeviceError::NotOurs { path: path.to_owned(), why: "it names no file".to_owned() });
    };
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(".unfinished");
    Ok(directory_of(path).join(unfinished))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => PathBuf::from("."),
        Some(directory) => directory.to_owned(),
        None => PathBuf::from("/"),
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn creation_failure(path: &Path) -> impl FnOnce(io::Error) -> DeviceError + '_ {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => DeviceError::AlreadyExists { path: path.to_owned() },
        io::ErrorKind::NotFound => DeviceError::NotFound { path: directory_of(path) },
        _ => DeviceError::Io { action: format!("creating {}", path.display()), source },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Draft;
    use crate::device::DeviceError;

    type Begin = fn(&std::path::Path) -> crate::device::DeviceResult<Draft>;
    const WAYS: [Begin; 2] = [Draft::begin, Draft::begin_named];

    fn names_in(directory: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_draft_has_its_name_when_it_is_published_and_not_before() {
        for begin in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let draft = begin(&path).unwrap();
            draft.file().set_len(100).unwrap();
            assert!(!path.exists());
            drop(draft.publish().unwrap());
            assert_eq!(names_in(directory.path()), ["file"]);
            assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        }
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_nothing() {
        for begin in WAYS {
            let directory = tempfile::tempdir().unwrap();
            drop(begin(&directory.path().join("file")).unwrap());
            assert_eq!(names_in(directory.path()), [""; 0]);
        }
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_not_taken_away() {
        for begin in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let draft = begin(&path).unwrap();
            fs::write(&path, "theirs").unwrap();
            assert!(matches!(draft.publish(), Err(DeviceError::AlreadyExists { .. })));
            assert_eq!(fs::read(&path).unwrap(), b"theirs");
            assert_eq!(names_in(directory.path()), ["file"]);
        }
    }

    #[test]
    fn what_a_killed_process_left_unfinished_is_taken_over_but_not_from_one_that_is_alive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let living = Draft::begin_named(&path).unwrap();
        assert!(matches!(Draft::begin_named(&path), Err(DeviceError::Locked { .. })));
        drop(living);
        fs::write(directory.path().join(".file.unfinished"), "half of it").unwrap();
        let draft = Draft::begin_named(&path).unwrap();
        drop(draft.publish().unwrap());
        assert_eq!(names_in(directory.path()), ["file"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
