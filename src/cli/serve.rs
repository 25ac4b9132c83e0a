//! `aka serve`

use clap::Args;

use super::{Outcome, check_tables, unusable};
use crate::{
    config::{Database, Serving, Starting},
    server::{self, Server},
    store,
};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    starting: Starting,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments {
        serving,
        database,
        starting,
    } = arguments;
    let (url, root_key) = (&database.url()?, database.root_key()?);
    if starting.migrate {
        store::migrate(url).await.map_err(|error| unusable(url, &error))?;
    } else {
        check_tables(url).await?;
    }
    let server = Server::open(url, &root_key, starting.jwks_allow_private)
        .await
        .map_err(|error| unusable(url, &error))?;
    let listening = server.listen(serving.listen, serving.cross_origin()).await?;
    super::print(&format!("listening on {}", listening.address()))?;
    listening.run(server::asked_to_stop()?).await;
    Ok(())
}
