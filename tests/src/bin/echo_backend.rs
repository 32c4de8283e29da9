//! `echo-backend NAME ADDRESS…`: the tests' backend as a program, for the demo and for pods.

use std::net::SocketAddr;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or_else(|| anyhow::anyhow!("usage: echo-backend NAME ADDRESS…"))?;
    let addresses = arguments.map(|text| Ok(text.parse()?)).collect::<anyhow::Result<Vec<SocketAddr>>>()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        for address in addresses {
            tests::backend::serve(address, &name).await?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    })
}
