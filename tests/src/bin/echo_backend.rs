//! `echo-backend NAME=ADDRESS…`: the tests' backend as a program, for the demo.

use std::net::SocketAddr;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let parse = |text: String| {
        let (name, address) = text.split_once('=').context("usage: echo-backend NAME=ADDRESS…")?;
        let address: SocketAddr = address.parse().with_context(|| format!("{address} is not ADDRESS:PORT"))?;
        anyhow::Ok((name.to_owned(), address))
    };
    let backends = std::env::args().skip(1).map(parse).collect::<Result<Vec<_>, _>>()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        for (name, address) in backends {
            tests::backend::serve(address, &name).await.with_context(|| format!("cannot listen on {address}"))?;
        }
        std::future::pending().await
    })
}
