//! Taking connections: plain or TLS, HTTP/1.1 or HTTP/2, each served by a task of its own.

use std::{sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    counters::count,
    http::{self, Front},
};

/// Rest after a connection could not be taken, since a lack of descriptors does not end at once.
const REST: Duration = Duration::from_millis(50);

/// Takes connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, front: Arc<Front>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        count(&front.service.tally.connections);
        // Small answers must not wait for the acknowledgement of earlier ones; without it they are only slower.
        let _ = socket.set_nodelay(true);
        let (tls, front) = (tls.clone(), Arc::clone(&front));
        tokio::spawn(async move {
            match tls {
                None => converse(socket, front).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(stream) => converse(stream, front).await,
                    Err(_) => count(&front.service.tally.tls_failures),
                },
            }
        });
    }
}

/// Serves one connection to its end. The first bytes tell HTTP/2 from HTTP/1.1, over TLS and without.
async fn converse(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, front: Arc<Front>) {
    let http2 = front.service.settings.http2;
    let service = service_fn(move |request| http::answer(Arc::clone(&front), request));
    let builder = Builder::new(TokioExecutor::new());
    let builder = if http2 { builder } else { builder.http1_only() };
    // A connection that breaks off is the client's affair; its calls have been counted.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
