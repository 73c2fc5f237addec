//! The one network interface that a network namespace is born with.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Brings the loopback of this process' network namespace up (`netdevice(7)`).
///
/// # Errors
/// Fails without `CAP_NET_ADMIN` in that namespace.
#[expect(unsafe_code, reason = "this ioctl has no wrapper")]
pub fn raise_loopback() -> io::Result<()> {
    let handle = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: the structure is numbers, for all of which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: the kernel only reads the request, which lives until the call returns.
    Errno::result(unsafe {
        libc::ioctl(handle.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })?;
    Ok(())
}
