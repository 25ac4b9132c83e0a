//! The answers that operations of all resources give.

use poem_openapi::{
    ApiResponse,
    types::{ParseFromJSON, Type},
};
use serde::Serialize;

use super::body::Answer;

/// The answer to a request that made something.
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

/// The answer to a request for something whose state has a name, or that changed it.
#[derive(ApiResponse)]
pub enum Tagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Done.
    #[oai(status = 200)]
    Done(
        Answer<T>,
        /// The state of what is answered: send it as `If-Match` with a change, and the change is made only where it is
        /// still so.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer to a request that made something whose state has a name.
#[derive(ApiResponse)]
pub enum CreatedTagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Created.
    #[oai(status = 201)]
    Created(
        Answer<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
        /// The state of what was created.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer to a request that took something away.
#[derive(ApiResponse)]
pub enum Gone {
    /// Done. There is no content.
    #[oai(status = 204)]
    Done,
}
