//! Network namespaces with nothing but the one interface they are born with.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The network namespace of this process. Only the thread that makes others goes into them (unshare(2)):
/// the namespaces of other threads stay what they are.
#[derive(Debug)]
pub struct Home(OwnedFd);

impl Home {
    /// The namespace this process is in now.
    ///
    /// # Errors
    /// Fails without `CAP_NET_ADMIN` in it.
    pub fn here() -> io::Result<Self> {
        namespace(&any_socket()?).map(Self)
    }

    /// A new namespace whose loopback is up. This thread goes in, and comes back; where it cannot
    /// come back it ends, because whatever it would start there would share that network.
    ///
    /// # Errors
    /// Fails without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    pub fn fresh(&self) -> io::Result<OwnedFd> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = any_socket().and_then(|socket| {
            raise_loopback(&socket)?;
            namespace(&socket)
        });
        if let Err(error) = setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "cannot leave the network of a jail");
            std::process::abort();
        }
        made
    }
}

fn any_socket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

/// The network namespace that a socket is in (`SIOCGSKNS`, `linux/sockios.h`); close-on-exec.
#[expect(unsafe_code, reason = "this ioctl has no wrapper")]
fn namespace(socket: &OwnedFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the call takes no argument and changes no memory.
    let fd = Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: the kernel made this descriptor for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings the loopback of a socket's namespace up (`netdevice(7)`).
#[expect(unsafe_code, reason = "this ioctl has no wrapper")]
fn raise_loopback(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: the structure is numbers, for all of which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: the kernel only reads the request, which lives until the call returns.
    Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })?;
    Ok(())
}
