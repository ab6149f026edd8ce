//! What `--help` says below the options: examples to copy, then what a program that reads the results must know.

pub(super) const EXAMPLES: &str = "\
Examples:
  kvctl create data.zonal                    make a store
  kvctl put data.zonal user:1 Ada            give a key a value
  kvctl get data.zonal user:1                read it back
  kvctl scan data.zonal --prefix user:       list keys and values
  kvctl stats data.zonal --format json       count what is there, for a program
  kvctl zones data.zonal --map               see the whole device at once
  kvctl dump data.zonal | kvctl load other.zonal
                                             copy everything to another store
  kvctl device list                          find zoned drives

`kvctl <COMMAND> --help` has examples of each command.

Results go to stdout, messages to stderr.
Exit code 0: done; 1: the answer is no (the key is absent, the store is damaged); 2: wrong usage; 3: failed.";

pub(super) const CREATE: &str = "\
In a file, which must not be there yet, or on a device, which is given over whole: a zoned block device (ZNS drive, SMR \
disk), of which all zones are reset and whose sizes are its own, or any other block device or partition. A device that \
is not blank is taken only with --yes; the message says what would be destroyed. Shows what `kvctl info` shows of the \
new store. Sizes are bytes, or whole numbers with \
KiB, MiB, GiB, TiB, kB, MB, GB or TB. A store needs 8 zones or more.

Examples:
  kvctl create data.zonal
  kvctl create data.zonal --capacity 1GiB --zone-size 16MiB
  kvctl create /dev/nvme0n1
  kvctl create --yes /dev/sdb1
  kvctl create small.zonal --capacity 24MiB --zone-size 1MiB --block-size 512

Exit code 0: made; 2: no store has such sizes; 3: failed, there is nothing new at the path.";

pub(super) const PUT: &str = "\
The store must exist; `kvctl create` makes one. Writes nothing to stdout.

Examples:
  kvctl put data.zonal user:1 Ada
  kvctl put data.zonal logo @logo.png                 the content of a file
  date | kvctl put data.zonal now -                   all of stdin, its last newline included
  kvctl put --literal data.zonal user:1 @ada          the four characters @ada
  kvctl put data.zonal user:1 -- -x                   after `--` nothing is an option
  kvctl put data.zonal --key-encoding hex 00ff Ada    a key that is not text

Exit code 0: stored and durable; 2: wrong usage; 3: failed.";

pub(super) const GET: &str = "\
The bytes of the value are written as they are; only on a terminal a newline follows. With --format json an object with \
'key' and 'value', or 'key_base64' and 'value_base64' where the bytes are not UTF-8.

Examples:
  kvctl get data.zonal user:1
  kvctl get data.zonal logo > logo.png
  kvctl get data.zonal --key-encoding base64 AP8= --format json

Exit code 0: found; 1: the key has no value; 2: wrong usage; 3: failed.";

pub(super) const DELETE: &str = "\
Works in a full store, too. Writes nothing to stdout.

Examples:
  kvctl delete data.zonal user:1
  kvctl delete data.zonal user:1 || [ $? -eq 1 ]      content if it was absent before

Exit code 0: deleted, durably; 1: the key had no value, nothing was changed; 2: wrong usage; 3: failed.";

pub(super) const SCAN: &str = "\
Keys are in the order of their bytes. A line is the key, a tab, the value; what a terminal would act on is written \
as \\n, \\t, \\\\, \\u{1b}, bytes that are not UTF-8 as \\xNN. With --format json each line is an object with 'key' and \
'value', or 'key_base64' and 'value_base64', which `kvctl load` reads.

Examples:
  kvctl scan data.zonal --prefix user:
  kvctl scan data.zonal --from a --to b --keys-only   from a, up to but not including b
  kvctl scan data.zonal --reverse --limit 10          the last ten
  kvctl scan data.zonal --prefix user: --format json | kvctl load users.zonal

Exit code 0: done, also where nothing was found; 1: values that cannot be read were left out, and named on stderr; 2: wrong \
usage; 3: failed.";

pub(super) const INFO: &str = "\
With --format json an object with these keys, sizes in bytes:
  'store_id'            tells this store from every other
  'device'              what the device is
  'access'              how it is accessed: direct I/O or page cache
  'queue'               which queue reads and appends go through: io_uring, aio or threads
  'format_version'      version of the on-disk format
  'incarnation'         how often it was opened for writing, its creation included
  'block_bytes'         the device's block size
  'zone_size_bytes'     from one zone start to the next
  'zone_capacity_bytes' what can be written in a zone
  'zone_count'          how many zones there are
  'capacity_bytes'      what all zones together hold
  'max_open_zones'      how many zones may be open at once
  'max_active_zones'    how many zones may be active at once
  'append_limit_bytes'  the largest single append
  'index'               which index the store keeps in memory
  'checkpoints'         checkpoints of the index that the next opening may choose, objects as
                        `kvctl checkpoint` shows them
  'keeps_journal'       whether the device has memory that outlives the process, for a journal
  'opening'             how opening the store went just now, an object with 'checkpoint' (the
                        number of the one that was used, 0 for none), 'checkpoint_entries'
                        (taken from it), 'checkpoint_zones' (not read because of it),
                        'unusable_checkpoints', 'zones_read', 'bytes_read', 'records_read',
                        'microseconds', 'journal_writes' and 'journal_bytes' (what a killed process
                        had acknowledged as written and not appended: it is taken from its journal,
                        and appended when the store is opened for writing) and 'journal_lost'
                        (there was such a journal and it is gone)

Examples:
  kvctl info data.zonal
  kvctl info data.zonal --format json | jq .zone_count";

pub(super) const STATS: &str = "\
With --format json an object with these keys, sizes in bytes. Those marked * add up over the life of the store (a crash \
loses what was counted since the last close or zone reset); the others of the second group count what this very command \
did, which is next to nothing:
  'keys'                 keys that have a value
  'tombstones'           deleted keys that are still remembered
  'live_bytes'           records that can be read: header, key and value
  'live_limit_bytes'     how many live bytes the store takes before it is full
  'index_bytes'          memory of the index
  'cache_bytes'          memory of cached values
  'streams'              list by stream, a stream being the zones of a class of lifetimes:
                         'kind' (user: new writes; relocation: copies), 'class' (0: the
                         shortest-lived), 'zones', 'capacity_bytes' (of those), 'live_bytes',
                         'live_share' (of the capacity), 'written_bytes' *
  'collections'          the last eight zones that the collector emptied, the newest last *:
                         'zone', 'generation', 'kind' and 'class' of what had filled it,
                         'age_bytes' (written to the log since it was full), 'live_bytes',
                         'live_share', 'moved_records', 'moved_bytes', 'microseconds',
                         'freed' (false: it has worn out)
  'zones'                zones by state: 'empty', 'implicitly_open', 'explicitly_open',
                         'closed', 'full', 'read_only', 'offline', 'not_write_pointer'

  'user_bytes_written'   * keys and values handed in
  'device_bytes_written' * everything appended to the device
  'relocated_bytes'      * records copied by the collector
  'write_amplification'  * device_bytes_written / user_bytes_written
  'zone_resets'          * zones that the collector emptied and reset
  'device_bytes_read'    read from the device
  'device_flushes'       flushes of the device
  'puts'                 puts
  'deletes'              deletes
  'gets'                 point reads
  'memory_hits'          reads answered from memory
  'bytes_since_checkpoint' what an opening reads beside the last checkpoint, about

Examples:
  kvctl stats data.zonal
  kvctl stats data.zonal --format json | jq .write_amplification";

pub(super) const ZONES: &str = "\
With --format json a list of objects with 'zone', 'state' (empty, implicitly_open, explicitly_open, closed, full, \
read_only, offline, not_write_pointer), 'role' (free, user, relocation, manifest, checkpoint, lost, conventional), 'open' (whether the store appends to it), \
'write_pointer', 'capacity_bytes', 'live_bytes', 'generation' and 'reset_count'.

The map has one column a zone, or several zones a column for a large device. Each column shows what the zones are used \
for, how far they are written and how much of that is live: where the second bar is lower than the first, the \
difference is what the collector can gain.

Examples:
  kvctl zones data.zonal
  kvctl zones data.zonal --map
  kvctl zones data.zonal --map --width 200 | less -S";

pub(super) const CHECK: &str = "\
Without --deep: everything that opening the store reads, checksums verified, and each zone's account of live bytes \
against the index. With --deep also every live value. Does not stop at the first damage.

With --format json an object with 'sound', 'deep', 'unreadable' (null, or why the store cannot be opened at all), \
'keys', 'values', 'clean' (whether it had been closed in order; if not, it recovers when it is opened), 'records', \
'void_records', 'damages' (a list of objects with 'zone', 'offset' in bytes from the zone's start, 'device_offset' in bytes from \
the start of the file or device, 'what', and 'confined': whether the value of one key is all that is concerned), \
'harmless_damages' (the same, of spare copies of the manifest, checkpoints and padding), 'device_damages' (outside the zones: objects with \
'device_offset' and 'what') and 'wrong_accounts'. `kvctl salvage` saves what can be read of a damaged store.

Examples:
  kvctl check data.zonal
  kvctl check --deep data.zonal && echo all values are good

Exit code 0: sound; 1: damaged; 2: wrong usage; 3: it could not be checked.";

pub(super) const CHECKPOINT: &str = "\
Stores write checkpoints by themselves, too: as they are written to, and when they are closed after much was written. \
Two are kept. A checkpoint takes only space that data do not need.

With --format json an object with 'number' (checkpoints are counted), 'covered_seqno' (the last write that is covered by \
it, or by what opening reads besides it: the zones being filled), 'entries' (keys and deletes in it), 'bytes' and \
'zones' (where it lies).

Examples:
  kvctl checkpoint data.zonal
  kvctl checkpoint data.zonal && kvctl info data.zonal    how opening goes with it

Exit code 0: written; 1: there is no room for one; 2: wrong usage; 3: failed.";

pub(super) const GC: &str = "\
Stores are cleaned by themselves while they are open, as far as their writers need it. This cleans at once: until the store, \
counted in whole zones, takes no more than 1.3 times its live bytes, or as little as it can do with, also where it has a capacity \
of its own. Zones without live records are reset, live records are copied out of others, and checkpoints of the index that have \
become too large for what is left are dropped. What zones are emptied goes back to the file system. A bar on stderr shows how far \
it is, where that is a terminal.

With --format json an object with 'reclaimed_bytes' (zones that are free now and were not), 'zones_emptied', 'moved_bytes' (live \
records copied), 'checkpoints_dropped', and 'before' and 'after', each with 'zones' (that hold something or are kept ready, those \
of the manifest and of checkpoints included), 'target_zones' (how many there should be), 'bytes' (what they can hold) and \
'live_bytes'.

Examples:
  kvctl gc data.zonal
  kvctl gc data.zonal --format json | jq .reclaimed_bytes

Exit code 0: done, also when there was nothing to gain; 2: wrong usage; 3: failed.";

pub(super) const SALVAGE: &str = "\
Reads every record that passes its own checksums, also where the device's header, its zone table, the manifest or a unit's \
header are damaged or the file is cut short, and copies the newest version of each key into a new store. The damaged store is \
opened for reading only and stays as it is. A damaged record is put right where the rest of its unit proves what it was.

What is gone is listed: keys whose value is damaged (they have no value in the new store; --older-versions keeps the version \
before, where there is one), and writes of unknown keys. Where writes of unknown keys are gone, keys with earlier versions may \
have lost a newer one: they are kept (--only-certain leaves them out) and listed as doubtful, as are values that were found \
where nothing tells whether they still counted. A table shows 20 keys of a kind.

With --format json an object with 'complete', 'into', 'keys', 'records', 'void_records', 'mended_records', 'device_damages' \
('device_offset', 'what'), 'unreadable' (blocks that the device fails to read: 'zone', 'offset', 'device_offset', 'len_bytes'), \
'notes', 'lost_keys' ('key' or 'key_base64', 'seqno', 'zone', 'offset', 'device_offset', 'what', 'older_seqno'), 'lost_writes' ('zone', 'offset', 'device_offset', 'len_bytes', 'what', 'first_seqno', 'last_seqno', 'keys_named': whether a checkpoint tells of which keys they were), \
'torn_batches' ('first_seqno', 'writes') and 'doubtful_keys' ('key' or 'key_base64', 'seqno', 'zone', 'offset', 'doubt': \
newer_version_lost, maybe_superseded or maybe_left_over, 'kept').

Examples:
  kvctl salvage data.zonal                       what could be saved
  kvctl salvage data.zonal --into saved.zonal
  kvctl salvage data.zonal --into saved.zonal --older-versions
  kvctl salvage data.zonal --zone-size 16MiB --format json > lost.json

Exit code 0: everything could be read; 1: something is gone or doubtful, the rest was copied; 2: wrong usage; 3: failed.";

pub(super) const LOAD: &str = "\
Each line is an object with 'key' and 'value', or 'key_base64' and 'value_base64' for bytes that are not UTF-8: what \
`kvctl dump` writes. Blank lines are skipped. Keys that exist get the new value. The store must exist.

A line that is no record stops the load: the lines before it are stored, the message names the line, and the load goes \
on from there with `tail -n +LINE FILE | kvctl load STORE`.

Writes a summary to stdout: 'records', 'lines' and 'key_and_value_bytes' with --format json. With --acknowledge it writes \
instead, after each batch, a line with the number of lines of the input, from the first on, that survive power loss \
from then on ({\"durable_lines\":1000} with --format json).

Examples:
  kvctl load data.zonal records.jsonl
  kvctl dump old.zonal | kvctl load data.zonal
  kvctl load data.zonal --durability buffered records.jsonl    faster; durable at the end

Exit code 0: all stored and durable; 2: wrong usage; 3: failed; the message says how many lines are stored.";

pub(super) const DUMP: &str = "\
One object a line, in the order of the keys, with 'key' and 'value', or 'key_base64' and 'value_base64' where the bytes \
are not UTF-8. `kvctl load` reads it. The lines are the same with either --format; with --output a summary goes to \
stdout: 'records', 'key_and_value_bytes' and 'skipped' with --format json.

A record whose value cannot be read is named on stderr and left out; 'skipped' counts them.

Examples:
  kvctl dump data.zonal > records.jsonl
  kvctl dump data.zonal --output records.jsonl     private to you, and on stable media when it ends
  kvctl dump data.zonal | gzip > records.jsonl.gz

Exit code 0: done; 1: records were left out; 2: wrong usage; 3: failed; no file is left behind.";

pub(super) const DEVICE: &str = "\
Devices are named by their path. `check`, `reset` and `bench` destroy what is in zones: they say what is there and ask, or \
take --yes. A device that a store has open is refused.

Examples:
  kvctl device list                          what is there
  kvctl device report /dev/ng0n1             its zones
  kvctl device reset --all /dev/ng0n1        empty it
  kvctl device check /dev/ng0n1              does it keep the rules?
  kvctl device bench /dev/ng0n1              what are many appends in flight worth?";

pub(super) const DEVICE_LIST: &str = "\
Reads what the kernel tells under /sys and /proc, and opens no device but NVMe namespaces that the kernel makes no block \
device for: these have to be asked. DEVICE is what to name to the other commands: for an NVMe drive the character device, \
which takes true zone appends. Processes of other users show to root only.

With --format json a list of objects with 'path', 'block_path', 'model', 'kind' (host-managed, host-aware; unknown of a \
namespace that did not answer), 'zone_count', 'zone_size_bytes', 'block_bytes', 'max_open_zones', 'max_active_zones' (0 is \
no limit), 'append_limit_bytes' (0: the kernel offers no append) and 'held_by', a list of objects with 'device', 'mount' \
or 'process' (an object with 'id' and 'name').

Exit code 0: done, also where there is none; 2: wrong usage; 3: failed.";

pub(super) const DEVICE_REPORT: &str = "\
Works on every kind of device, files made by `kvctl create` included, and changes nothing.

With --format json an object with 'device', 'access', 'block_bytes', 'zone_size_bytes', 'zone_capacity_bytes', 'zone_count', \
'max_open_zones', 'max_active_zones', 'append_limit_bytes', 'volatile_cache' and 'zones', a list of objects with 'zone', \
'start' (in bytes from the device's start), 'state' (as in `kvctl zones`), 'write_pointer' (in bytes from the zone's start) \
and 'reset_count' (0 where the device does not count).

Examples:
  kvctl device report data.zonal
  kvctl device report /dev/nvme0n1 --format json | jq '.zones[] | select(.state != \"empty\")'

Exit code 0: done; 2: wrong usage; 3: failed.";

pub(super) const DEVICE_CHECK: &str = "\
DESTROYS what is on the device, and leaves its zones empty. Runs every line of the append contract as a check, and the \
rules of zones that stores rely on: it finds drives and kernels that break them. Takes seconds to minutes. Which lines \
there are is in the documentation, docs/append-contract.md.

With --format json an object with 'conforms', 'device', 'queue', 'passed', 'failed', 'not_applicable' (counts) and 'checks', a \
list of objects with 'line' (of the contract, or 'zones'), 'name', 'claim', 'verdict' (pass, fail, not_applicable) and, \
where it is no pass, 'reason'.

Examples:
  kvctl device check /dev/ng0n1
  kvctl device check --yes /dev/nvme0n1 --queue aio
  kvctl create try.zonal --capacity 64MiB --zone-size 1MiB && kvctl device check --yes try.zonal

Exit code 0: no check failed; 1: a check failed, or you did not agree and nothing was changed; 2: wrong usage; 3: it could \
not be checked.";

pub(super) const DEVICE_RESET: &str = "\
DESTROYS what is in the zones. With --all, zones that cannot be reset (read-only, offline, conventional) are left out and \
counted.

With --format json an object with 'zones_reset', 'zones_empty_before' and 'zones_that_cannot_be_reset'.

Examples:
  kvctl device reset /dev/ng0n1 --zones 3
  kvctl device reset /dev/ng0n1 --zones 5-9,12
  kvctl device reset --yes --all data.zonal

Exit code 0: done; 1: you did not agree, nothing was changed; 2: wrong usage; 3: failed, some zones may be reset.";

pub(super) const DEVICE_BENCH: &str = "\
DESTROYS what is in the device's first zone that can be written, and leaves it empty. Appends from 1, 2 and 4 threads with \
1, 8 and 32 in flight each; the same appends one at a time; and on an NVMe drive the same bytes by Write commands at the \
write pointer, one in flight, as whoever has no append must. They take turns; medians are shown, and what many in flight gain: \
the ratios. Completions mean written, not durable.

With --format json an object with 'device', 'queue', 'append_bytes', 'appends', 'rounds', 'takes_one_append_at_a_time' and \
'measurements', a list of objects with 'threads', 'depth', 'appends_per_second', 'one_at_a_time_per_second', 'ratio', \
'written_at_pointer_per_second' and 'ratio_to_written_at_pointer', the last two null where there are no such writes.

Examples:
  kvctl device bench /dev/ng0n1
  kvctl device bench --yes /dev/ng0n1 --append-bytes 64KiB --rounds 9 --format json

Exit code 0: done; 1: you did not agree, nothing was changed; 2: wrong usage; 3: failed.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  kvctl completions bash > ~/.local/share/bash-completion/completions/kvctl
  kvctl completions zsh > ~/.zfunc/_kvctl
  kvctl completions fish > ~/.config/fish/completions/kvctl.fish";
