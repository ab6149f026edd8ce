//! Takes system calls away from a thread, as a container's seccomp profile does from a process.
//!
//! A filter holds for the thread that asks for it and for all threads and processes that it starts, for ever. So tests start a
//! thread, and let it end.
#![expect(unsafe_code, reason = "prctl has no safe interface; proved at its place")]

use std::thread;

use libc::{c_long, c_ulong, sock_filter, sock_fprog};

/// Runs `what` on a thread for which each of the system calls named fails with `errno`.
pub(crate) fn without<T: Send>(calls: &[c_long], errno: i32, what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            take_away(calls, errno);
            what()
        });
        confined.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn take_away(calls: &[c_long], errno: i32) {
    let mut filter = program(calls, errno);
    let program = sock_fprog {
        len: u16::try_from(filter.len()).expect("a short program"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) names no memory; prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)
    // reads the program, which outlives the call.
    let taken = unsafe {
        (
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const program),
        )
    };
    assert_eq!(
        taken,
        (0, 0),
        "this kernel lets nobody filter system calls: {}",
        std::io::Error::last_os_error()
    );
}

/// Loads the number of the call (the first word of what a filter sees), compares it with each, and lets the rest pass.
fn program(calls: &[c_long], errno: i32) -> Vec<sock_filter> {
    let operation = |code: u32, value: u32, if_true: u8| sock_filter {
        code: u16::try_from(code).expect("an operation has 16 bits"),
        jt: if_true,
        jf: 0,
        k: value,
    };
    let number = |call: &c_long| u32::try_from(*call).expect("call numbers are small");
    let mut program = vec![operation(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (left, call) in (1..=calls.len()).rev().zip(calls) {
        let to_the_end = u8::try_from(left).expect("a few calls");
        program.push(operation(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number(call), to_the_end));
    }
    program.push(operation(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    program.push(operation(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(), 0));
    program
}
