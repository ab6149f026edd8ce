//! Opening: what may be at the path, and who else may have it open.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use zonal::{Db, ErrorKind, Options};

use crate::support::{MIB, Place};

fn refused(place: &Place, options: Options) -> ErrorKind {
    let error = Db::open(place.path(), options).unwrap_err();
    assert!(error.to_string().contains(&place.path().display().to_string()), "{error}");
    error.kind()
}

#[test]
fn what_is_missing_is_made_only_where_it_may_be() {
    let place = Place::new(16);
    assert_eq!(refused(&place, place.options().create_if_missing(false)), ErrorKind::NotFound);
    assert_eq!(refused(&place, place.options().read_only(true)), ErrorKind::NotFound);
    assert!(!place.path().exists());
    place.open().put("k", "v").unwrap();
    assert_eq!(refused(&place, place.options().create_new(true)), ErrorKind::AlreadyExists);
    let db = Db::open(place.path(), place.options().create_if_missing(false)).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), *b"v");
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn create_new_makes_a_store() {
    let place = Place::new(16);
    let db = Db::open(place.path(), place.options().create_new(true)).unwrap();
    assert_eq!((db.path().as_path(), db.iter().count()), (place.path(), 0));
}

#[test]
fn a_directory_that_is_missing_is_not_made() {
    let place = Place::new(16);
    let path = place.path().join("deeper").join("store");
    assert_eq!(Db::open(&path, place.options()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn options_of_the_device_do_not_change_a_store_that_is_there() {
    let place = Place::new(16);
    let before = place.open().info();
    let other =
        place.options().zone_size_bytes(4 * MIB as u64).capacity_bytes(64 * MIB as u64).block_bytes(512);
    let after = Db::open(place.path(), other).unwrap().info();
    assert_eq!((after.zone_count, after.block_bytes), (before.zone_count, before.block_bytes));
}

#[test]
fn files_that_are_no_stores_are_refused_and_stay_as_they_are() {
    let texts = ["", "x", "not a store\n", &"long text\n".repeat(500_000)];
    for text in texts {
        let place = Place::new(16);
        fs::write(place.path(), text).unwrap();
        assert_eq!(refused(&place, place.options()), ErrorKind::NotAStore, "{} bytes", text.len());
        assert_eq!(refused(&place, place.options().read_only(true)), ErrorKind::NotAStore);
        assert_eq!(refused(&place, place.options().create_new(true)), ErrorKind::AlreadyExists);
        assert!(fs::read_to_string(place.path()).unwrap() == text);
    }
}

#[test]
fn a_directory_is_no_store() {
    let place = Place::new(16);
    fs::create_dir(place.path()).unwrap();
    let kind = refused(&place, place.options());
    assert_eq!(kind, ErrorKind::NotAStore);
    assert_eq!(refused(&place, place.options().create_new(true)), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_second_opener_in_the_process_is_told_that_the_store_is_locked() {
    let place = Place::new(16);
    let db = place.open();
    assert_eq!(refused(&place, place.options()), ErrorKind::Locked);
    assert_eq!(refused(&place, place.options().read_only(true)), ErrorKind::Locked);
    drop(db);
    let reader = place.open_for_reading();
    assert_eq!(refused(&place, place.options()), ErrorKind::Locked);
    drop(reader);
    drop(place.open());
}

const HELD_STORE: &str = "ZONAL_TEST_HELD_STORE";

/// Not a test of its own: the other process of the next one.
#[test]
#[ignore = "runs in a process that another test starts"]
fn hold_a_store_until_standard_input_ends() {
    let Some(path) = std::env::var_os(HELD_STORE) else { return };
    let db = Db::open(path, Options::default()).unwrap();
    println!("\nheld");
    std::io::stdin().lines().count();
    db.close().unwrap();
}

#[test]
fn a_store_held_by_another_process_is_locked_and_the_error_says_by_which() {
    let place = Place::new(16);
    drop(place.open());
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "api::opening::hold_a_store_until_standard_input_ends"])
        .env(HELD_STORE, place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let said = lines.by_ref().map_while(Result::ok).any(|line| line == "held");
    assert!(said, "the holder has failed");
    let error = Db::open(place.path(), place.options()).unwrap_err();
    holder.stdin.take().unwrap().flush().unwrap();
    assert!(holder.wait().unwrap().success());
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&holder.id().to_string()), "{error}");
    drop(place.open());
}
