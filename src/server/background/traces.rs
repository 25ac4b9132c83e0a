//! Removes what was erased from the files of the database, too.
//!
//! It begins with that: the process before this one may have been killed between an erasure and the removal.

use crate::http::App;

pub const NAME: &str = "traces";

pub async fn run(app: App) {
    app.store.remove_traces_when_asked().await;
}
