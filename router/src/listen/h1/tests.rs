//! How connections end; no time is waited for.

use pingora_http::ResponseHeader;
use rustls::pki_types::ServerName;
use tokio::{io::duplex, time::timeout};

use super::*;
use crate::{
    fixture::{acceptor, certificate, connector},
    tls::Tls,
};

/// TLS takes some of what it is to send before anybody takes it from there, and ends with a word of its own.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_waited_for_to_close_tls() {
    let certificate = certificate(&["a.home.example"]);
    let name = ServerName::try_from("a.home.example").expect("a name");
    let (client, server) = duplex(1024);
    let (client, server) =
        tokio::join!(connector(&certificate, &[]).connect(name, client), acceptor(&certificate, &[]).accept(server));
    let _client = client.expect("open");
    let nobodys = ResponseHeader::build(200, None).expect("a head");
    let opened = Arc::new(ProxyDigest::new(Box::new(nobodys), None));
    let stream = Tls::new(server.expect("open"), opened);
    let address = SocketAddr::from(([127, 0, 0, 1], 443));
    let refuse: Arc<Refuse> = Arc::new(|_, _, _| Vec::new());
    let mut connection = H1::new(stream, b"", (address, address), refuse, Arc::default(), LINGER);
    connection.write_all(&[b'x'; 2 * WRITE]).await.expect("it is kept");
    let end = timeout(2 * STALLED, AsyncWriteExt::shutdown(&mut connection)).await.expect("an end");
    assert_eq!(end.expect_err("nobody has taken it").kind(), io::ErrorKind::TimedOut);
}
