//! The XDP program's place on an interface, and what is left of it when this process dies.
//!
//! A link is held by a file descriptor: when the process ends, however it ends, the kernel takes the program off the
//! interface (`bpf_xdp_link_release`). In `closed` mode that is all: the two ports are not part of any bridge
//! and have no address, so with no program nobody carries a frame from one to the other. (Before Linux 5.9 there are no
//! links: the program then stays and, finding no socket, drops.)
//!
//! In `open` mode the link is also pinned in a bpf file system, under `postern/NETNS-INTERFACE`. The program then stays on
//! and, finding no socket, bridges in the kernel. A clean exit removes the pin; the next start removes that
//! of one that died.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::XdpMode;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;

use super::Mode;
use super::program::Program;

/// Where a bpf file system usually is.
pub const BPFFS: &str = "/sys/fs/bpf";

const FOLDER: &str = "postern";

/// `BPF_FS_MAGIC` cannot be read without `statfs`; a mount is looked up by the name of its type instead.
const BPFFS_TYPE: &str = "bpf";

/// The program on an interface. Dropping it takes the program off.
#[derive(Debug)]
pub struct Attachment {
    /// `None` only while it is dropped.
    link: Option<Held>,
    mode: Mode,
}

#[derive(Debug)]
enum Held {
    Plain { _link: XdpLink },
    Pinned { link: PinnedLink },
}

impl Attachment {
    /// Puts the program on an interface, natively if the driver can and `mode` allows. With `pins`, the link is
    /// pinned there. A pin that another process left is removed before: no live one has the interface, since
    /// the caller has bound its queues.
    ///
    /// Also says why it is not native when that was tried.
    ///
    /// # Errors
    /// The kernel's, for the last mode tried.
    pub fn new(
        program: &mut Program,
        name: &str,
        interface: u32,
        wanted: super::WantedMode,
        pins: Option<&PinFolder>,
    ) -> io::Result<(Self, Option<io::Error>)> {
        let (link, mode, why_not) = match wanted {
            super::WantedMode::Native => (program.attach(interface, XdpMode::Driver)?, Mode::Native, None),
            super::WantedMode::Skb => (program.attach(interface, XdpMode::Skb)?, Mode::Skb, None),
            super::WantedMode::Auto => match program.attach(interface, XdpMode::Driver) {
                Ok(link) => (link, Mode::Native, None),
                // Another program is there, in whatever mode: not ours to replace.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(error),
                Err(error) => (program.attach(interface, XdpMode::Skb)?, Mode::Skb, Some(error)),
            },
        };
        let link = match pins {
            None => Held::Plain { _link: link },
            Some(folder) => {
                let link = FdLink::try_from(link).map_err(|_| {
                    io::Error::other(
                        "this kernel has no XDP links (Linux 5.9), so nothing can outlive the process",
                    )
                })?;
                Held::Pinned { link: link.pin(folder.path(name)).map_err(io::Error::other)? }
            }
        };
        Ok((Self { link: Some(link), mode }, why_not))
    }

    /// The mode it runs in.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(Held::Pinned { link }) = self.link.take() {
            // The descriptor goes with it, and so the program. A pin that somebody removed is no harm.
            drop(link.unpin());
        }
    }
}

/// Where links are pinned.
#[derive(Debug)]
pub struct PinFolder {
    folder: PathBuf,
    /// Inode number of this network namespace: two of them may have interfaces of the same name.
    namespace: u64,
}

impl PinFolder {
    /// Finds the folder under `bpffs`, without making it.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub fn find(bpffs: &Path) -> io::Result<Self> {
        let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
        Ok(Self { folder: bpffs.join(FOLDER), namespace })
    }

    /// Makes the folder, and mounts a bpf file system under it if there is none. Says so when the mount will not
    /// outlive this process's mount namespace (as made by `ip netns exec`).
    ///
    /// # Errors
    /// When that is not possible; the text says what to do.
    pub fn make(&self) -> io::Result<Option<String>> {
        let bpffs = self.folder.parent().unwrap_or(Path::new(BPFFS));
        let at = bpffs.display();
        if !is_bpffs(bpffs)? {
            let mounted = Command::new("mount").args(["-t", BPFFS_TYPE, BPFFS_TYPE]).arg(bpffs).output();
            let failed = match mounted {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = failed {
                return Err(io::Error::other(format!(
                    "--on-failure open keeps the XDP program in a bpf file system, there is none at {at}, and it could not \
                     be mounted: {why} (mount -t bpf bpf {at})"
                )));
            }
        }
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let own = fs::metadata("/proc/thread-self/ns/mnt").map(|own| own.ino());
        let first = fs::metadata("/proc/1/ns/mnt").map(|first| first.ino());
        let private = matches!((own, first), (Ok(own), Ok(first)) if own != first);
        Ok(private.then(|| {
            format!(
                "{at} belongs to a mount namespace of its own (as `ip netns exec` makes): if it is mounted only there, \
                 the gateway fails closed as soon as that namespace ends"
            )
        }))
    }

    /// The pin of an interface.
    fn path(&self, interface: &str) -> PathBuf {
        self.folder.join(format!("{}-{interface}", self.namespace))
    }

    /// Removes what a gateway that died left pinned for an interface, and says whether there was anything.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn clear(&self, interface: &str) -> io::Result<bool> {
        match fs::remove_file(self.path(interface)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        // Only when it is empty: another gateway may use it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Whether the mount that a path is in is a bpf file system.
fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = path.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(file_system_at(&mounts, &path) == Some(BPFFS_TYPE))
}

/// The type of the last mount exactly at `path` in a `/proc/PID/mountinfo`: `ID PARENT DEV ROOT POINT OPTIONS... - TYPE ...`.
fn file_system_at<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let at = |line: &&str| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == path);
    mounts.lines().rfind(at)?.split(" - ").nth(1)?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_counts() {
        let mounts = "22 1 0:20 / /sys rw - sysfs sysfs rw\n30 22 0:30 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw\n";
        assert_eq!(file_system_at(mounts, Path::new("/sys/fs/bpf")), Some("bpf"));
        assert_eq!(file_system_at(mounts, Path::new("/sys/fs")), None);
        let hidden = format!("{mounts}31 30 0:31 / /sys/fs/bpf rw - tmpfs none rw\n");
        assert_eq!(file_system_at(&hidden, Path::new("/sys/fs/bpf")), Some("tmpfs"));
    }
}
