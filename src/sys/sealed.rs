//! A program as a memory file that nobody can change.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// Longest program of Keepgate itself, in bytes.
const OWN_MAX: u64 = 1 << 30;

/// A copy of `program`, of at most `max` bytes: sealed, to be run but not opened again for reading,
/// so that the kernel makes what runs from it undumpable (`would_dump()` in the kernel's exec). Our
/// own descriptor can still read it.
///
/// Where the system lets no memory file be run (`vm.memfd_noexec` is 2, see
/// `Documentation/userspace-api/mfd_noexec.rst` of the kernel) it is the file itself, and a jail
/// needs a Landlock rule for it: see [`is_sealed`].
///
/// # Errors
/// Fails where the program is longer (`FileTooLarge`) or cannot be read.
pub fn seal(program: &File, max: u64) -> io::Result<OwnedFd> {
    let Some(mut memory) = memory()? else {
        return match program.metadata()?.len() > max {
            true => Err(ErrorKind::FileTooLarge.into()),
            false => Ok(program.try_clone()?.into()),
        };
    };
    let length = io::copy(&mut program.take(max.saturating_add(1)), &mut memory)?;
    if length > max {
        return Err(ErrorKind::FileTooLarge.into());
    }
    close(memory)
}

/// As [`seal`], of a program that is no file; `None` where no memory file can be run.
///
/// # Errors
/// Fails where memory is short.
pub fn seal_bytes(program: &[u8]) -> io::Result<Option<OwnedFd>> {
    let Some(mut memory) = memory()? else {
        return Ok(None);
    };
    memory.write_all(program)?;
    close(memory).map(Some)
}

/// A memory file that can be run, where there is such a thing.
fn memory() -> io::Result<Option<File>> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    match memfd_create("keepgate-program", flags | executable) {
        Err(Errno::EACCES) => Ok(None),
        made => Ok(Some(File::from(made?))),
    }
}

/// From here on nobody can change it, or open it to read.
fn close(memory: File) -> io::Result<OwnedFd> {
    fchmod(&memory, Mode::from_bits_truncate(0o111))?;
    let memory = OwnedFd::from(memory);
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(
        &memory,
        FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
    )?;
    Ok(memory)
}

/// The program of this process, as [`seal`] makes it.
///
/// # Errors
/// Fails where `/proc` is not there.
pub fn own() -> io::Result<OwnedFd> {
    seal(&File::open("/proc/self/exe")?, OWN_MAX)
}

/// It is a sealed memory file, not a file of the host.
pub fn is_sealed(program: BorrowedFd<'_>) -> bool {
    fcntl(program.as_fd(), FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_sealed_program_cannot_be_changed_and_has_a_limit() {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            file
        };
        let sealed = File::from(seal(&file(b"\x7fELF"), 4).unwrap());
        assert!(is_sealed(sealed.as_fd()));
        assert!(!is_sealed(file(b"x").as_fd()));
        let mut head = [0; 4];
        sealed.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"\x7fELF");
        assert!((&sealed).write_all(b"x").is_err());
        assert!(sealed.set_len(0).is_err());
        let long = seal(&file(b"\x7fELF!"), 4).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::FileTooLarge);
    }
}
