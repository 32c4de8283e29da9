//! Backends that come and go one by one, as pods do.

use std::{io, net::SocketAddr, pin::pin};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::backend;

/// [`backend`], until it is told to end.
pub struct Pod {
    pub address: SocketAddr,
    ends: CancellationToken,
    tasks: TaskTracker,
}

impl Pod {
    /// Serves at a free port of that address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: SocketAddr, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let pod = Self { address: listener.local_addr()?, ends: CancellationToken::new(), tasks: TaskTracker::new() };
        let (ends, tasks, name) = (pod.ends.clone(), pod.tasks.clone(), name.to_owned());
        pod.tasks.spawn(async move {
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    tasks.spawn(serve(stream, name.clone(), ends.clone()));
                }
            };
            tokio::select! {
                () = ends.cancelled() => {}
                () = accept => {}
            }
        });
        Ok(pod)
    }

    /// Does what a good server does on SIGTERM: takes no connection more, closes those that wait for a request,
    /// and ends when what runs is done. What was upgraded goes on.
    pub async fn terminate(self) {
        self.ends.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn serve(stream: TcpStream, name: String, ends: CancellationToken) {
    // It would fail for a client that has gone.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| backend::answer(name.clone(), request));
    let server = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // How a connection ends is the client's to see.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = ends.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
