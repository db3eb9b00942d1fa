//! Where the daemon listens: an address of TCP, or a Unix socket that its owner alone may use.
//!
//! Invariant: a Unix socket is private from the moment on at which its path exists; a path that is
//! not a socket, or whose socket somebody answers at, is left as it is.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio_util::either::Either;

use crate::Refusal;

/// What `--listen` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address with a port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("write a path after `unix:`, as in unix:/run/kittiwake.sock".to_owned()),
                path => Ok(Listen::Unix(path.into())),
            };
        }
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        match port.parse::<u16>() {
            Ok(port) => Ok(Listen::Tcp((Ipv4Addr::LOCALHOST, port).into())),
            Err(_) => text
                .parse()
                .map(Listen::Tcp)
                .map_err(|error| format!("{error}; write 127.0.0.1:8080, [::1]:8080 or 8080")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}/"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
pub enum Socket {
    /// To whoever reaches the address.
    Tcp(TcpListener),
    /// To its owner, and root.
    #[cfg(unix)]
    Unix {
        /// What listens.
        listener: UnixListener,
        /// Removes its path.
        _file: SocketFile,
    },
}

/// A connection of either kind.
#[cfg(unix)]
pub type Connection = Either<tokio::net::TcpStream, tokio::net::UnixStream>;
/// A connection.
#[cfg(not(unix))]
pub type Connection = Either<tokio::net::TcpStream, tokio::net::TcpStream>;

impl Socket {
    /// Begins to listen.
    pub async fn bind(listen: &Listen) -> Result<Socket, Refusal> {
        match listen {
            Listen::Tcp(address) => {
                TcpListener::bind(address).await.map(Socket::Tcp).map_err(|error| {
                    Refusal::Failure(format!(
                        "cannot listen at {address}: {error}; give another --listen, or port 0 \
                         for a free one"
                    ))
                })
            }
            #[cfg(unix)]
            Listen::Unix(path) => {
                let bound = bind_private(path).await.map_err(|error| {
                    Refusal::Failure(format!(
                        "cannot listen at {}: {error}; give another --listen",
                        path.display()
                    ))
                })?;
                Ok(Socket::Unix { listener: bound, _file: SocketFile(path.clone()) })
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => Err(Refusal::Usage("this system has no Unix sockets".to_owned())),
        }
    }

    /// Where it really listens: port 0 has become one.
    pub fn address(&self, asked: &Listen) -> Listen {
        match self {
            Socket::Tcp(listener) => listener.local_addr().map_or(asked.clone(), Listen::Tcp),
            #[cfg(unix)]
            Socket::Unix { .. } => asked.clone(),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Connection> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and wait for nothing; without it they wait for
                // acknowledgements.
                let _ = stream.set_nodelay(true);
                Ok(Either::Left(stream))
            }
            #[cfg(unix)]
            Socket::Unix { listener, .. } => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}

/// The path of a Unix socket, which goes with it.
#[cfg(unix)]
pub struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before has done the work.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds under another name first, so that nobody can connect before only the owner may.
#[cfg(unix)]
async fn bind_private(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file is there"));
        }
        // One that nobody listens at is what a crash has left.
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => {
                let reason = "another process listens there";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        },
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let hidden = path.with_file_name(name);
    // What an earlier process with this number has left.
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}
