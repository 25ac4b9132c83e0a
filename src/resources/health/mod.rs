//! Whether the server is well: for load balancers and orchestrators.

use poem::{Request, web::Data};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::{
    App, Tag,
    body::Answer,
    error::Error,
    operations::{Operation, Resource},
    params::check_query,
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[],
    schema_example: of_schema,
    parameter_example: |_| None,
};

/// The operations.
const OPERATIONS: [Operation; 2] = [
    Operation::open("getHealth", "/healthz"),
    Operation::open("getReadiness", "/readyz"),
];

fn of_schema(name: &str) -> Option<Value> {
    (name == "Health").then(|| json!({ "status": "ok" }))
}

/// That the server is well.
#[derive(Debug, Object, Serialize)]
pub struct Health {
    /// Always `ok`: a server that is not well answers with an error.
    pub status: String,
}

impl Health {
    fn ok() -> Answer<Self> {
        Answer(Self { status: "ok".into() })
    }
}

/// The operations on the server itself.
pub struct HealthApi;

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Check that the server is alive
    ///
    /// `200` if its database answers; otherwise `503`. Needs no credential.
    #[oai(path = "/healthz", method = "get", operation_id = "getHealth")]
    async fn alive(&self, app: Data<&App>, request: &Request) -> Result<Answer<Health>, Error> {
        check_query(request)?;
        app.store.ping().await?;
        Ok(Health::ok())
    }

    /// Check that the server is ready
    ///
    /// Yes, if its database answers and commits changes, its clock agrees with the database's, its background
    /// tasks work, and it has not been told to stop; otherwise `503`. Needs no credential.
    #[oai(path = "/readyz", method = "get", operation_id = "getReadiness")]
    async fn ready(&self, app: Data<&App>, request: &Request) -> Result<Answer<Health>, Error> {
        check_query(request)?;
        app.readiness.check().map_err(Error::unavailable)?;
        app.store.ping().await?;
        app.store.can_write().await?;
        Ok(Health::ok())
    }
}
