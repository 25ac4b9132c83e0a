//! The answers that operations of all resources give.

use poem_openapi::{
    ApiResponse,
    types::{ParseFromJSON, Type},
};
use serde::Serialize;

use super::body::Answer;

/// The answer to a request that created something.
#[derive(ApiResponse)]
pub enum Created<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Created.
    #[oai(status = 201)]
    Created(
        Answer<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
    ),
}

/// The answer with a resource that has an `ETag`.
#[derive(ApiResponse)]
pub enum Tagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Done.
    #[oai(status = 200)]
    Done(
        Answer<T>,
        /// The current version of the resource. Send it as `If-Match` with a change, so that the change is made only if the
        /// resource is still the same.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer to a request that created a resource that has an `ETag`.
#[derive(ApiResponse)]
pub enum CreatedTagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Created.
    #[oai(status = 201)]
    Created(
        Answer<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
        /// The current version of the resource.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer without content.
#[derive(ApiResponse)]
pub enum Gone {
    /// Done. There is no content.
    #[oai(status = 204)]
    Done,
}
