//! What became of a request that could not be answered as it was meant to be.

use std::io;

use pingora_core::{Error, ErrorSource, ErrorType};

/// The status for a failure (0: nobody is there to read it), and what to call it.
pub(super) fn failure(error: &Error) -> (u16, &'static str) {
    let io = error.root_cause().downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) && *error.esource() == ErrorSource::Downstream {
        return (400, "the request's body is not framed as its head says");
    }
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(503), _) => (503, "no ready endpoint"),
        (ErrorType::HTTPStatus(504), _) => (504, "the backend does not answer in time"),
        (ErrorType::HTTPStatus(status), _) => (*status, "refused"),
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::H2Error,
            ErrorSource::Downstream,
        ) => (0, "the client has gone"),
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Downstream) => {
            (408, "the client is too slow")
        }
        (_, ErrorSource::Downstream) => (400, "the request cannot be understood"),
        (ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout, _) => {
            (504, "the backend does not accept a connection in time")
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, _) => (504, "the backend does not answer in time"),
        _ if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) => (504, "the backend does not answer in time"),
        (ErrorType::ConnectRefused, _) => (502, "the backend refuses the connection"),
        (ErrorType::ConnectNoRoute | ErrorType::ConnectError | ErrorType::SocketError, _) => {
            (502, "the backend cannot be reached")
        }
        (ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError, _) => {
            (502, "the backend's TLS handshake fails")
        }
        (_, ErrorSource::Upstream) => (502, "the backend's answer breaks off or cannot be understood"),
        _ => (500, "the router has failed"),
    }
}
