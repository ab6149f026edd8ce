//! One NVMe passthrough command by ioctl, for where io_uring cannot carry it. Blocks until the command has ended.
#![expect(unsafe_code, reason = "an ioctl; proved at its place")]

use std::io;

use crate::device::{NvmeCommand, RawResult};

/// `NVME_IOCTL_IO64_CMD` of `linux/nvme_ioctl.h`: `_IOWR('N', 0x48, struct nvme_passthru_cmd64)`.
const NVME_IOCTL_IO64_CMD: libc::Ioctl = 0xc050_4e48_u32 as libc::Ioctl;

/// Where the result stands in the frame: its last eight bytes.
const RESULT_AT: usize = 72;

/// `struct nvme_passthru_cmd64`.
#[repr(C, align(8))]
struct Frame([u8; 80]);

/// Performs a command; the result is as io_uring's passthrough gives it: 0, an NVMe status, or an errno negated.
///
/// The caller promises `len_bytes` of valid memory that nobody else uses meanwhile.
pub(super) fn submit_and_wait(command: &NvmeCommand, memory: *mut u8, len_bytes: u32) -> RawResult {
    let mut frame = Frame(command.for_ring(memory.expose_provenance() as u64, len_bytes));
    // SAFETY: the ioctl reads and writes one `nvme_passthru_cmd64`, which the frame is, and moves `len_bytes` between the
    // device and the memory named in it, which the caller promises. On a file that is no NVMe device it fails and touches
    // nothing.
    let status = unsafe { libc::ioctl(command.fd, NVME_IOCTL_IO64_CMD, &raw mut frame) };
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    let mut lba = [0; 8];
    lba.copy_from_slice(&frame.0[RESULT_AT..]);
    RawResult { result: if status < 0 { -errno() } else { status }, lba: u64::from_ne_bytes(lba) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::ptr;

    use rustix::io::Errno;

    use super::submit_and_wait;
    use crate::device::NvmeCommand;

    #[test]
    fn what_is_no_nvme_device_says_so() {
        let file = File::open("/dev/null").expect("open /dev/null");
        let command = NvmeCommand {
            fd: file.as_raw_fd(),
            opcode: 0x7d,
            namespace: 3,
            start_lba: 0x1_0000_0002,
            block_count: 8,
            force_unit_access: true,
        };
        let result = submit_and_wait(&command, ptr::null_mut(), 0);
        assert_eq!(result.result, -Errno::NOTTY.raw_os_error());
    }
}
