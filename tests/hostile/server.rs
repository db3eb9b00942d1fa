//! A server on loopback that breaks HTTP in the way that a request's path names.
//!
//! Invariant: it knows how many of its connections are open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, rustls};

/// A running server. It ends with the test.
pub struct HostileServer {
    pub address: SocketAddr,
    open: watch::Receiver<usize>,
}

impl HostileServer {
    pub async fn start() -> HostileServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (count, open) = watch::channel(0);
        let count = Arc::new(count);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("it listens");
                count.send_modify(|open| *open += 1);
                let count = count.clone();
                tokio::spawn(async move {
                    // Whoever breaks HTTP is not surprised when the other end leaves.
                    let _ = answer(socket).await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        HostileServer { address, open }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until no connection is open.
    pub async fn is_left_alone(&mut self) {
        let left = self.open.wait_for(|open| *open == 0);
        let left = tokio::time::timeout(Duration::from_secs(30), left).await;
        left.expect("every connection is closed").expect("the server runs");
    }
}

/// A server that speaks TLS with a certificate for another name, signed by nobody but itself.
pub async fn serve_tls() -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("wrong-name.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("wrong-name.key"));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key.expect("a key"))
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("it listens");
            assert!(acceptor.accept(socket).await.is_err(), "the client trusts nobody");
        }
    });
    address
}

async fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = vec![0; 4096];
    let length = socket.read(&mut request).await?;
    let text = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let answer: &[u8] = match path {
        "/short" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "/long" => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf and half",
        "/bad-chunk" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
        "/cut-chunks" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "/bad-gzip" => b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nnot gzip at all",
        "/cut-gzip" => {
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\
              \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\xc8"
        }
        "/not-http" => b"220 mail.test ESMTP\r\n",
        "/loop" => {
            b"HTTP/1.1 302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\n\
                     connection: close\r\n\r\n"
        }
        "/closed" => b"",
        "/silent-body" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "/silent" => b"",
        "/endless-headers" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                socket.write_all(&b"x-more: more and more and more\r\n".repeat(64)).await?;
            }
        }
        "/endless-body" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                socket.write_all(&[b'x'; 4096]).await?;
            }
        }
        // A connection that was never used.
        "" => b"",
        other => panic!("no such path: {other}"),
    };
    socket.write_all(answer).await?;
    if path.starts_with("/silent") {
        // Until the other end leaves.
        while socket.read(&mut request).await? > 0 {}
    }
    Ok(())
}
