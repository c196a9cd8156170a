//! Listening on a unix socket: the file that it has, its rights, and what becomes of it.
//!
//! A socket of this kind cannot be opened once for each worker (`SO_REUSEPORT` is of the network): all of them accept
//! on one, which wakes them all for each connection and gives it to whoever comes first.
//!
//! # When is a file that stands there taken away?
//! When nobody accepts behind it: what a killed process leaves refuses connections. The socket of a living one is in
//! use, and a file that is no socket is somebody's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};

use super::connect::address_of;
use super::listen::BACKLOG;
use crate::config::model::UnixName;

/// The file of a socket; where it is ours, taken away by drop, unless another one stands there by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Which file it is: device and number.
    id: (u64, u64),
    owner: Owner,
}

/// Which process takes the file away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    This,
    Other,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id(path)?, owner: Owner::This })
    }

    /// The file of a socket that another process has bound. It stays where it is, unless it is claimed.
    ///
    /// # Errors
    /// No socket stands there.
    pub fn standing(path: &Path) -> io::Result<Self> {
        if !fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut file = Self::of(path)?;
        file.owner = Owner::Other;
        Ok(file)
    }

    /// It is this process's from now on.
    pub fn claim(&mut self) {
        self.owner = Owner::This;
    }

    /// It is another process's from now on, and stays where it is.
    pub fn leave(mut self) {
        self.owner = Owner::Other;
    }

    /// Gives it these rights.
    ///
    /// # Errors
    /// What the system said.
    pub fn allow(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == Owner::This && id(&self.path).is_ok_and(|found| found == self.id) {
            // Where the folder has been taken from us, the next process finds a socket that nobody answers at.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Binds the socket, with these rights where it has a file, and begins to listen.
///
/// # Errors
/// What the system said; [`io::ErrorKind::AddrInUse`] where somebody accepts there, or a file stands there that is no
/// socket.
pub fn bind(name: &UnixName, mode: u32) -> io::Result<(UnixListener, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = address_of(name)?;
    match (socket.bind(&address), name.path()) {
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path, name)? => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        (bound, _) => bound?,
    }
    let file = name.path().map(SocketFile::of).transpose()?;
    // Before it listens: nobody connects by other rights.
    file.as_ref().map_or(Ok(()), |file| file.allow(mode))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Whether what stands there is a socket that nobody accepts at any more.
fn is_left_behind(path: &Path, name: &UnixName) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket stands there"));
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    Ok(asking.connect(&address_of(name)?).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn name(path: &Path) -> UnixName {
        format!("unix:{}", path.display()).parse().unwrap()
    }

    #[test]
    fn a_socket_is_replaced_only_where_nobody_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let name = name(&path);
        let (first, file) = bind(&name, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
        assert_eq!(bind(&name, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // As a process that is killed leaves it.
        drop(first);
        std::mem::forget(file);
        assert!(UnixStream::connect(&path).is_err());
        let (second, file) = bind(&name, 0o600).unwrap();
        UnixStream::connect(&path).unwrap();
        drop((second, file));
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&name, 0o660).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_is_another_one_by_now_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let (_first, file) = bind(&name(&path), 0o660).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        let (_second, other) = bind(&name(&path), 0o660).unwrap();
        drop(file);
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn an_abstract_socket_has_no_file() {
        let name: UnixName = format!("unix:@evenkeel-test-{}", std::process::id()).parse().unwrap();
        let (_socket, file) = bind(&name, 0o660).unwrap();
        assert!(file.is_none());
        assert_eq!(bind(&name, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
