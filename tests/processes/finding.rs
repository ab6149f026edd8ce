//! What lies at the path is in use, a copy, of another length, replaced, protected, or no store at all: an error that says
//! so, or the right thing, and nothing is changed.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use zonal::{Db, ErrorKind, Options};

use crate::child::{Child, Task, command, command_through, hear, tell};
use crate::stores::{Contents, assert_sound, contents, small};

/// A user that nothing belongs to.
const NOBODY: u32 = 65_534;

fn writer() -> Options {
    small(10)
}

fn reader() -> Options {
    writer().read_only(true)
}

fn furnish(path: &Path, count: u32) -> Contents {
    let db = Db::open(path, writer()).expect("make");
    for number in 0..count {
        db.put(format!("key {number:04}"), vec![u8::try_from(number % 251).expect("a byte"); 900])
            .expect("put");
    }
    let found = contents(&db);
    db.close().expect("close");
    found
}

fn a_store() -> (TempDir, std::path::PathBuf, Contents) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let contents = furnish(&path, 500);
    (directory, path, contents)
}

fn contents_at(path: &Path) -> Contents {
    contents(&Db::open(path, reader()).expect("open"))
}

/// Both ways of opening give an error of this kind whose message has these words, and leave every byte.
#[track_caller]
fn assert_refused(path: &Path, kind: ErrorKind, words: &[&str]) {
    let bytes = || path.is_file().then(|| fs::read(path).expect("read"));
    let before = bytes();
    for options in [writer(), reader(), writer().create_if_missing(false)] {
        let error = Db::open(path, options).expect_err("it must be refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
    assert!(bytes() == before, "opening changed the file");
}

/// Opens a store as the argument says and holds it until the parent lets go.
pub(crate) fn hold(task: &Task) {
    let options = if task.argument == "read" { reader() } else { writer() };
    let Ok(_db) = Db::open(&task.store, options) else { return tell("refused") };
    tell("holds");
    hear();
}

/// Tries to open a store, and says what came of it.
pub(crate) fn try_to_open(task: &Task) {
    let options = if task.argument == "read" { reader() } else { writer() };
    match Db::open(&task.store, options) {
        Ok(db) => tell(&format!("{} keys", contents(&db).len())),
        Err(error) => tell(&format!("{:?}: {error}", error.kind())),
    }
}

#[test]
fn a_second_process_is_told_which_one_has_the_store_and_readers_share_it() {
    let (_directory, path, contents) = a_store();
    let mut child = Child::start("hold", &path, "write");
    assert_eq!(child.tells(), "holds");
    let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).expect("it has a name");
    let holder = format!("in use by process {} ({})", child.id(), name.trim_end());
    assert_refused(&path, ErrorKind::Locked, &[&holder]);
    child.end();
    let mut child = Child::start("hold", &path, "read");
    assert_eq!(child.tells(), "holds");
    assert!(contents_at(&path) == contents, "another reader reads the same");
    let error = Db::open(&path, writer()).expect_err("a reader keeps writers out");
    assert!(error.kind() == ErrorKind::Locked && error.to_string().contains("in use by process"), "{error}");
    child.end();
    Db::open(&path, writer()).expect("nobody has it any more");
}

#[test]
fn a_copy_of_a_closed_store_is_a_store_of_its_own() {
    let (directory, path, contents) = a_store();
    for (name, arguments) in [("whole", &["--sparse=never"][..]), ("sparse", &["--sparse=always"])] {
        let copy = directory.path().join(name);
        let copied = Command::new("cp").args(arguments).args([&path, &copy]).status().expect("copy");
        assert!(copied.success());
        assert!(contents_at(&copy) == contents, "{name}");
        let (one, other) =
            (Db::open(&path, writer()).expect("open"), Db::open(&copy, writer()).expect("open"));
        one.put("written to", "the original").expect("put");
        other.put("written to", "the copy").expect("put");
        other.delete("key 0007").expect("delete");
        // Each is cleaned by itself.
        for round in 0..4000_u32 {
            let value = vec![u8::try_from(round % 250).expect("a byte"); 2000];
            one.put_with("busy", &value, buffered()).expect("put");
            other.put_with("busy", &value[..1000], buffered()).expect("put");
        }
        one.close().expect("close");
        other.close().expect("close");
        assert_sound(&path, "the original");
        assert_sound(&copy, name);
        let (one, other) = (contents_at(&path), contents_at(&copy));
        assert_eq!(one[&b"written to"[..]], b"the original");
        assert_eq!(other[&b"written to"[..]], b"the copy");
        assert!(one.contains_key(&b"key 0007"[..]) && !other.contains_key(&b"key 0007"[..]));
        let db = Db::open(&path, writer()).expect("open");
        db.delete("written to").and_then(|()| db.delete("busy")).expect("delete");
    }
}

fn buffered() -> zonal::WriteOptions {
    zonal::WriteOptions::default().durability(zonal::Durability::Buffered)
}

#[test]
fn a_file_cut_short_is_refused_and_a_longer_one_is_the_same_store() {
    let (_directory, path, contents) = a_store();
    let whole = fs::metadata(&path).expect("look").len();
    let set_len =
        |bytes| OpenOptions::new().write(true).open(&path).expect("open").set_len(bytes).expect("set");
    set_len(whole + 12_345);
    assert!(contents_at(&path) == contents, "a longer file");
    Db::open(&path, writer()).expect("open").close().expect("close");
    for bytes in [whole - 1, whole / 2, 1 << 20, 5000] {
        set_len(bytes);
        let lengths = [format!("{bytes} bytes"), format!("{whole} bytes")];
        assert_refused(&path, ErrorKind::Corruption, &["cut short", &lengths[0]]);
    }
    set_len(0);
    assert_refused(&path, ErrorKind::NotAStore, &["it is empty"]);
}

#[test]
fn a_file_that_is_replaced_under_its_name_while_it_is_open_stays_what_it_was_to_its_holder() {
    let (directory, path, _) = a_store();
    let other = directory.path().join("other");
    let others = furnish(&other, 20);
    let others_bytes = fs::read(&other).expect("read");
    let db = Db::open(&path, writer()).expect("open");
    let inode = fs::metadata(&path).expect("look").ino();
    fs::rename(&other, &path).expect("replace");
    assert_ne!(fs::metadata(&path).expect("look").ino(), inode);
    for number in 0..2000_u32 {
        db.put(format!("new {:03}", number % 100), number.to_le_bytes().repeat(500)).expect("put");
    }
    assert_eq!(db.get("key 0300").expect("get").as_deref(), Some(&[49; 900][..]));
    db.close().expect("close");
    assert!(fs::read(&path).expect("read") == others_bytes, "the file that took its place was written to");
    assert!(contents_at(&path) == others, "whoever opens the name now gets what is there now");
    fs::remove_file(&path).expect("remove");
    assert_refused_as_missing(&path);
}

fn assert_refused_as_missing(path: &Path) {
    for options in [reader(), writer().create_if_missing(false)] {
        let error = Db::open(path, options).expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert!(!path.exists());
}

#[test]
fn zones_of_another_store_in_the_file_are_not_believed() {
    let (directory, path, _) = a_store();
    let other = directory.path().join("other");
    furnish(&other, 500);
    let (theirs, length) = (fs::read(&other).expect("read"), fs::metadata(&path).expect("look").len());
    assert_eq!(length, theirs.len() as u64);
    // All zones but those of the manifest, as a careless copy in place would do it.
    let from = (1 << 20) + 2 * crate::stores::ZONE_SIZE_BYTES;
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    file.write_all_at(&theirs[usize::try_from(from).expect("small")..], from).expect("write");
    assert_refused(&path, ErrorKind::Corruption, &["zone"]);
}

#[test]
fn what_is_no_store_is_refused_by_what_it_is_and_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    assert_refused(directory.path(), ErrorKind::NotAStore, &["no regular file"]);
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 0, "nothing was made in it");
    // Opening a pipe would wait for somebody to write into it.
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
    assert_refused(&at("pipe"), ErrorKind::NotAStore, &["no regular file"]);
    fs::write(at("text"), "something else ".repeat(1000)).expect("write");
    assert_refused(&at("text"), ErrorKind::NotAStore, &["does not begin as one"]);
    fs::write(at("empty"), "").expect("write");
    assert_refused(&at("empty"), ErrorKind::NotAStore, &["it is empty"]);
    assert_refused(Path::new("/dev/null"), ErrorKind::NotAStore, &["/dev/null"]);
    assert_refused(&at("text").join("below"), ErrorKind::Io, &["below"]);
}

#[test]
fn a_symbolic_link_leads_to_the_store_or_is_told_to_lead_nowhere() {
    let (directory, path, contents) = a_store();
    let at = |name: &str| directory.path().join(name);
    symlink(&path, at("link")).expect("link");
    assert!(contents_at(&at("link")) == contents);
    let mut child = Child::start("hold", &at("link"), "write");
    assert_eq!(child.tells(), "holds");
    assert_eq!(Db::open(&path, writer()).expect_err("the lock is the file's").kind(), ErrorKind::Locked);
    child.end();
    symlink(at("nowhere"), at("dangling")).expect("link");
    assert_refused(&at("dangling"), ErrorKind::NotAStore, &["symbolic link to", "nowhere", "nothing is"]);
    let new = Db::open(at("dangling"), writer().create_new(true)).expect_err("the name is taken");
    assert_eq!(new.kind(), ErrorKind::AlreadyExists);
    assert!(!at("nowhere").exists());
    symlink(at("loop"), at("loop")).expect("link");
    assert_refused(&at("loop"), ErrorKind::Io, &["loop"]);
}

/// What a child says that tries to open the store as a user who owns nothing; `None` where that cannot be tried.
fn told_to_nobody(path: &Path, how: &str) -> Option<String> {
    let mut command = command("try", path, how);
    command.uid(NOBODY).gid(NOBODY);
    let mut probe = Command::new("/bin/true");
    probe.uid(NOBODY).gid(NOBODY);
    if !probe.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this process cannot become another user");
        return None;
    }
    Some(Child::run(&mut command).tells())
}

#[test]
fn a_store_that_may_not_be_written_is_refused_to_writers_and_read_by_readers() {
    let (directory, path, contents) = a_store();
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    set_mode(directory.path(), 0o755);
    let before = fs::read(&path).expect("read");
    set_mode(&path, 0o444);
    let Some(told) = told_to_nobody(&path, "write") else { return };
    assert!(told.starts_with("PermissionDenied: ") && told.contains("opening "), "{told}");
    assert_eq!(told_to_nobody(&path, "read"), Some(format!("{} keys", contents.len())));
    set_mode(&path, 0o000);
    for how in ["read", "write"] {
        let told = told_to_nobody(&path, how).expect("it could be tried just now");
        assert!(told.starts_with("PermissionDenied: ") && told.contains("opening "), "{told}");
    }
    assert!(fs::read(&path).expect("read") == before);
    let told = told_to_nobody(&directory.path().join("new"), "write").expect("it could be tried just now");
    assert!(told.starts_with("PermissionDenied: ") && told.contains("creating "), "{told}");
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1, "nothing was left behind");
}

/// A command that runs another one where a directory can only be read.
fn on_read_only_mount(directory: &Path) -> Command {
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut unshare = crate::full::in_own_mounts();
    unshare.args(["sh", "-c", script, "sh"]).arg(directory);
    unshare
}

#[test]
fn a_store_on_a_read_only_mount_is_refused_to_writers_and_read_by_readers() {
    let (directory, path, contents) = a_store();
    if !on_read_only_mount(directory.path()).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this process cannot make a mount of its own");
        return;
    }
    let told = |path: &Path, how: &str| {
        Child::run(&mut command_through(on_read_only_mount(directory.path()), "try", path, how)).tells()
    };
    assert_eq!(told(&path, "read"), format!("{} keys", contents.len()));
    let refused = told(&path, "write");
    assert!(refused.starts_with("PermissionDenied: ") && refused.contains("opening "), "{refused}");
    let refused = told(&directory.path().join("new"), "write");
    assert!(refused.starts_with("PermissionDenied: ") && refused.contains("creating "), "{refused}");
}
