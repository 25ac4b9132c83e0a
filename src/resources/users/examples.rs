//! Examples of users in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use crate::resources::{
    demo,
    examples::{TIME, but, page},
};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "UserCreate" => json!({ "email": "sam@example.com", "name": "Sam Example", "roles": ["engineer"] }),
        "UserUpdate" => json!({ "name": "Ada Example", "roles": ["engineer", "on-call"] }),
        "Suspension" => json!({ "active": true }),
        "User" => user(),
        "Page_User" => page(&user()),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::USER),
        "email" => json!("ada@example.com"),
        _ => return None,
    })
}

/// What `createUser` answers.
pub fn created() -> Value {
    but(user(), json!({ "email": "sam@example.com", "name": "Sam Example" }))
}

/// What `updateUser` answers.
pub fn updated() -> Value {
    but(user(), json!({ "roles": ["engineer", "on-call"] }))
}

fn user() -> Value {
    json!({
        "id": demo::USER,
        "email": "ada@example.com",
        "name": "Ada Example",
        "roles": ["engineer"],
        "active": true,
        "email_verified": false,
        "created_at": TIME,
        "updated_at": TIME,
    })
}
