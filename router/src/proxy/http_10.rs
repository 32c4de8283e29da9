//! Clients that know no chunks: the end of the connection ends a body of unknown length (RFC 9112 section 6.3).

use std::any::Any;

use async_trait::async_trait;
use http::{Version, header};
use pingora_core::{
    Result,
    modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module},
};
use pingora_http::{RequestHeader, ResponseHeader};

/// Takes out Transfer-Encoding, which pingora adds after its filters to what comes by HTTP/2: only a module sees a
/// head after that. It stands in the place of pingora's own compression, of which nothing is used.
pub(super) fn add_to(modules: &mut HttpModules) {
    modules.add_module(Box::new(Builder));
}

struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(NoChunks { is_needed: false })
    }
}

struct NoChunks {
    is_needed: bool,
}

#[async_trait]
impl HttpModule for NoChunks {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.is_needed = request.version == Version::HTTP_10;
        Ok(())
    }

    async fn response_header_filter(&mut self, response: &mut ResponseHeader, _is_end: bool) -> Result<()> {
        if self.is_needed {
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
