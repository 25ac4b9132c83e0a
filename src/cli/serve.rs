//! `aka serve`

use clap::Args;

use super::{Outcome, check_tables, unusable};
use crate::{
    config::{Database, Serving, Starting},
    resources::tenants,
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
    let bound = serving.listen.bind().await?;
    if starting.migrate {
        store::migrate(url).await.map_err(|error| unusable(url, &error))?;
    } else {
        check_tables(url).await?;
    }
    let server = Server::open(url, &root_key, starting.jwks_allow_private)
        .await
        .map_err(|error| unusable(url, &error))?;
    let is_empty = tenants::list(server.store(), None, 1)
        .await
        .map_err(|error| unusable(url, &error))?
        .is_empty();
    let listening = server.listen(bound, serving.limits.clone(), serving.cross_origin())?;
    // Before the next line is printed, so that whoever reads it can already stop the server.
    let asked_to_stop = server::asked_to_stop()?;
    super::print(&format!("listening on {}", listening.address()))?;
    if is_empty {
        tracing::warn!(
            "{url} has no tenant yet, so every request will be refused. Create one: \
             aka tenant create --name Example --slug example --master, then a key for it: \
             aka key create --tenant example --scopes all (both with the same --database-url)"
        );
    }
    listening.run(asked_to_stop).await;
    Ok(())
}
