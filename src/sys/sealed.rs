//! A program as a memory file that nobody can change.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// A copy of `program`, of at most `max` bytes: sealed, to be run but not opened again for reading,
/// so that the kernel makes what runs from it undumpable (`would_dump()` in the kernel's exec). Our
/// own descriptor can still read it.
///
/// # Errors
/// Fails where `vm.memfd_noexec` is 2, and where the program is longer (`FileTooLarge`).
pub fn seal(program: impl Read, max: u64) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let memory = memfd_create("keepgate-program", flags | executable).map_err(noexec)?;
    let mut memory = File::from(memory);
    let length = io::copy(&mut program.take(max.saturating_add(1)), &mut memory)?;
    if length > max {
        return Err(ErrorKind::FileTooLarge.into());
    }
    fchmod(&memory, Mode::from_bits_truncate(0o111))?;
    let memory = OwnedFd::from(memory);
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(
        &memory,
        FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
    )?;
    Ok(memory)
}

fn noexec(errno: Errno) -> io::Error {
    if errno != Errno::EACCES {
        return errno.into();
    }
    let what = "this system lets no memory file be executed: set vm.memfd_noexec to 0 or 1";
    io::Error::new(ErrorKind::PermissionDenied, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_sealed_program_cannot_be_changed_and_has_a_limit() {
        let sealed = File::from(seal(&b"\x7fELF"[..], 4).unwrap());
        let mut head = [0; 4];
        sealed.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"\x7fELF");
        assert!((&sealed).write_all(b"x").is_err());
        assert!(sealed.set_len(0).is_err());
        let long = seal(&b"\x7fELF!"[..], 4).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::FileTooLarge);
    }
}
