//! The example company: what `aka demo` begins with, and what the examples of the document speak of, so that each of
//! them can be tried there as it stands.

use uuid::{Uuid, uuid};

/// The tenant.
pub const TENANT: Uuid = uuid!("0198c5a0-0000-7000-8000-000000000001");
/// A user of the tenant.
pub const USER: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000a1");
/// Another user of the tenant.
pub const OTHER_USER: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000a2");
/// A provider of the type `github`.
pub const GITHUB: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000b1");
/// A provider of the type `slack`.
pub const SLACK: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000b2");
