//! A socket that datagrams come to, and that answers from the address that was asked.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, SockRef, Socket as RawSocket, Type};
use tokio::{io::Interest, net::UdpSocket};

pub struct Socket {
    socket: UdpSocket,
    /// Where the socket is bound to all addresses, which one was asked comes with the datagram.
    every_address: Option<UdpSocketState>,
}

/// Who has sent a datagram, and to which address.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub client: SocketAddr,
    /// None where the socket has only one.
    pub asked: Option<IpAddr>,
}

/// How much of a buffer was filled, in datagrams of `stride` bytes of which the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub length: usize,
    pub stride: usize,
    pub peer: Peer,
}

impl Socket {
    /// Without SO_REUSEADDR: a second router on the address is a mistake worth an error.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        let every_address =
            if address.ip().is_unspecified() { Some(UdpSocketState::new((&socket).into())?) } else { None };
        if every_address.is_some() && address.is_ipv4() {
            // What is made for QUIC sends nothing that would have to be cut in pieces. (Of IPv6 there is no way to say
            // so: an answer that is larger than the network's packets is lost there.)
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, every_address })
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// What is there already.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(state) = &self.every_address else {
            let (length, client) = self.socket.try_recv_from(buffer)?;
            return Ok(Received { length, stride: length, peer: Peer { client, asked: None } });
        };
        let mut meta = [RecvMeta::default()];
        self.socket.try_io(Interest::READABLE, || {
            state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta)
        })?;
        let [RecvMeta { addr: client, len, stride, dst_ip: asked, .. }] = meta;
        Ok(Received { length: len, stride, peer: Peer { client, asked } })
    }

    /// What cannot be sent now is lost, as any datagram may be.
    pub fn send(&self, peer: Peer, contents: &[u8]) {
        let _ = match &self.every_address {
            None => SockRef::from(&self.socket).send_to(contents, &peer.client.into()).map(drop),
            Some(state) => {
                let transmit =
                    Transmit { destination: peer.client, ecn: None, contents, segment_size: None, src_ip: peer.asked };
                state.try_send((&self.socket).into(), &transmit)
            }
        };
    }
}

impl Received {
    /// One by one; one without any bytes is one.
    pub fn datagrams<'b>(&self, buffer: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let bytes = buffer.get(..self.length).unwrap_or_default();
        let empty = bytes.is_empty().then_some(bytes);
        bytes.chunks(self.stride.max(1)).chain(empty)
    }
}
