//! One NVMe passthrough command by ioctl, for where io_uring cannot carry it. Blocks until the command has ended.
#![expect(unsafe_code, reason = "an ioctl; proved at its place")]

use std::io;

use crate::device::{NvmeCommand, RawResult};

/// `NVME_IOCTL_IO64_CMD` of `linux/nvme_ioctl.h`: `_IOWR('N', 0x48, struct nvme_passthru_cmd64)`.
const NVME_IOCTL_IO64_CMD: libc::Ioctl = 0xc050_4e48_u32 as libc::Ioctl;
/// Force unit access, in double word 12 of reads, writes and appends.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;

/// `struct nvme_passthru_cmd64`.
#[repr(C)]
#[derive(Default)]
struct PassthroughCommand {
    opcode: u8,
    flags: u8,
    reserved_1: u16,
    namespace: u32,
    double_word_2: u32,
    double_word_3: u32,
    metadata: u64,
    memory: u64,
    metadata_len_bytes: u32,
    data_len_bytes: u32,
    /// Double words 10 to 15.
    arguments: [u32; 6],
    timeout_ms: u32,
    reserved_2: u32,
    result: u64,
}

/// Performs a command; the result is as io_uring's passthrough gives it: 0, an NVMe status, or an errno negated.
///
/// The caller promises `len_bytes` of valid memory that nobody else uses meanwhile.
pub(super) fn submit_and_wait(command: &NvmeCommand, memory: *mut u8, len_bytes: u32) -> RawResult {
    let mut passthrough = encode(command, memory, len_bytes);
    // SAFETY: the ioctl reads and writes one `nvme_passthru_cmd64`, whose layout `PassthroughCommand` has, and moves
    // `len_bytes` between the device and the memory named in it, which the caller promises. On a file that is no NVMe device it
    // fails and touches nothing.
    let status = unsafe { libc::ioctl(command.fd, NVME_IOCTL_IO64_CMD, &raw mut passthrough) };
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    RawResult { result: if status < 0 { -errno() } else { status }, lba: passthrough.result }
}

fn encode(command: &NvmeCommand, memory: *mut u8, len_bytes: u32) -> PassthroughCommand {
    let force_unit_access = if command.force_unit_access { FORCE_UNIT_ACCESS } else { 0 };
    let (low, high) = (command.start_lba & u64::from(u32::MAX), command.start_lba >> 32);
    let half = |half: u64| u32::try_from(half).expect("half of 64 bits");
    PassthroughCommand {
        opcode: command.opcode,
        namespace: command.namespace,
        memory: memory.expose_provenance() as u64,
        data_len_bytes: len_bytes,
        arguments: [half(low), half(high), (command.block_count - 1) | force_unit_access, 0, 0, 0],
        ..PassthroughCommand::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::ptr;

    use rustix::io::Errno;

    use super::{PassthroughCommand, encode, submit_and_wait};
    use crate::device::NvmeCommand;

    const APPEND: NvmeCommand = NvmeCommand {
        fd: -1,
        opcode: 0x7d,
        namespace: 3,
        start_lba: 0x1_0000_0002,
        block_count: 8,
        force_unit_access: true,
    };

    #[test]
    fn a_command_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(size_of::<PassthroughCommand>(), 80);
        let encoded = encode(&APPEND, ptr::null_mut(), 4096);
        assert_eq!((encoded.opcode, encoded.namespace, encoded.data_len_bytes), (0x7d, 3, 4096));
        assert_eq!(encoded.arguments, [2, 1, 7 | 1 << 30, 0, 0, 0]);
        let volatile = NvmeCommand { force_unit_access: false, ..APPEND };
        assert_eq!(encode(&volatile, ptr::null_mut(), 4096).arguments[2], 7);
    }

    #[test]
    fn what_is_no_nvme_device_says_so() {
        let file = File::open("/dev/null").expect("open /dev/null");
        let command = NvmeCommand { fd: file.as_raw_fd(), ..APPEND };
        let result = submit_and_wait(&command, ptr::null_mut(), 0);
        assert_eq!(result.result, -Errno::NOTTY.raw_os_error());
    }
}
