//! What pingora asks of a stream besides bytes, where another stream lies below it.

/// For a type with a field `stream` that is such a stream itself.
macro_rules! through {
    ($($generics:ident),*; $name:ty) => {
        impl<$($generics: IO),*> UniqueID for $name {
            fn id(&self) -> UniqueIDType {
                self.stream.id()
            }
        }

        impl<$($generics: IO),*> Ssl for $name {
            fn get_ssl(&self) -> Option<&TlsRef> {
                self.stream.get_ssl()
            }

            fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
                self.stream.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<ALPN> {
                self.stream.selected_alpn_proto()
            }
        }

        impl<$($generics: IO),*> GetTimingDigest for $name {
            fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                self.stream.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> Duration {
                self.stream.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> Duration {
                self.stream.get_write_pending_time()
            }
        }

        impl<$($generics: IO),*> GetProxyDigest for $name {
            fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                self.stream.get_proxy_digest()
            }
        }

        impl<$($generics: IO),*> GetSocketDigest for $name {
            fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                self.stream.get_socket_digest()
            }
        }
    };
}

pub(super) use through;
