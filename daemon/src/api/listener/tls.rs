//! TLS of a connection, whose handshake waits for nobody but itself: it is done when somebody reads or
//! writes, so that one who connects and is silent keeps no other from being accepted.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file is not there, or not in PEM.
    #[error("{} is no {what} in PEM: {source}", path.display())]
    Pem { what: &'static str, path: PathBuf, source: pem::Error },
    /// Certificate and key cannot be used, or not together.
    #[error("the certificate and the key cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// What answers for a name with the certificates of a file, the server's own first, and its key.
pub(crate) fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let failed = |what, path: &Path, source| TlsError::Pem { what, path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| failed("certificate", certificates, error))?;
    let secret = PrivateKeyDer::from_pem_file(key);
    let secret = secret.map_err(|error| failed("private key", key, error))?;
    // Named, since libraries that want another provider are linked as well.
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a connection's bytes go through.
pub(super) enum Stream {
    Plain(TcpStream),
    /// The handshake is not done.
    Shaking(Box<Accept<TcpStream>>),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn new(stream: TcpStream, tls: Option<&TlsAcceptor>) -> Self {
        match tls {
            Some(tls) => Self::Shaking(Box::new(tls.accept(stream))),
            None => Self::Plain(stream),
        }
    }

    fn poll_shaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Shaking(accept) = self {
            let secure = ready!(Pin::new(accept.as_mut()).poll(cx))?;
            *self = Self::Secure(Box::new(secure));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_shaken(cx))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Shaking(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_shaken(cx))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Self::Shaking(_) => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            // Nothing was written.
            Self::Shaking(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Shaking(_) => Poll::Ready(Ok(())),
        }
    }
}
