//! Examples of tenants in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use crate::resources::{
    demo,
    examples::{TIME, but, page},
};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "TenantCreate" => json!({ "name": "Another Company", "slug": "another-company" }),
        "TenantUpdate" => json!({ "name": "Example Company" }),
        "Tenant" => tenant(),
        "Page_Tenant" => page(&tenant()),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::TENANT),
        _ => return None,
    })
}

/// What `createTenant` answers.
pub fn created() -> Value {
    let other = json!({ "name": "Another Company", "slug": "another-company", "is_master": false });
    but(tenant(), other)
}

fn tenant() -> Value {
    json!({
        "id": demo::TENANT,
        "name": "Example Company",
        "slug": "example",
        "is_master": true,
        "created_at": TIME,
        "updated_at": TIME,
    })
}
