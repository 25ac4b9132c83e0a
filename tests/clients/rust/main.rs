//! The main job through the client that openapi-generator makes of the served document.

use aka_client::{
    apis::{
        Error, api_keys_api,
        configuration::{ApiKey, Configuration},
        identities_api::{self, CreateUserIdentityError},
        identity_providers_api, users_api,
    },
    models::{ErrorCode, ApiKeyCreate, IdentityProviderCreate, UserCreate, UserIdentityCreate, ProviderType, Scope},
};

/// The status of a refusal, and what its body says.
fn refusal(error: Error<CreateUserIdentityError>) -> (u16, ErrorCode) {
    let Error::ResponseError(response) = error else {
        panic!("no answer: {error}");
    };
    // The generator makes a variant a status, all of the same type.
    let body = serde_json::from_str(&response.content).expect("an error has the documented form");
    let aka_client::models::ApiError { code, .. } = body;
    (response.status.as_u16(), code)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, tenant, key] = &arguments[..] else {
        panic!("usage: main ADDRESS TENANT KEY");
    };
    let with_key = |key: &str| Configuration {
        base_path: address.clone(),
        api_key: Some(ApiKey {
            prefix: None,
            key: key.to_owned(),
        }),
        ..Configuration::new()
    };
    let aka = with_key(key);
    let mut users = Vec::new();
    for name in ["ada", "grace"] {
        let new = UserCreate::new(format!("{name}@rust.example.com"), name.to_owned());
        users.push(users_api::create_user(&aka, tenant, new, None).await.expect("a user").id.to_string());
    }
    let new = IdentityProviderCreate::new("GitHub of Rust".to_owned(), ProviderType::Github);
    let provider = identity_providers_api::create_identity_provider(&aka, tenant, new, None).await;
    let account = UserIdentityCreate::new(provider.expect("a provider").id, "583231".to_owned());
    let link = async |aka: &Configuration, user: &str| {
        identities_api::create_user_identity(aka, tenant, user, account.clone(), None).await
    };

    let linked = link(&aka, &users[0]).await.expect("a link");
    assert_eq!((&*linked.external_id, &linked.external_username), ("583231", &None));

    let taken = link(&aka, &users[1]).await.expect_err("it is linked to another user");
    assert_eq!(refusal(taken), (409, ErrorCode::IdentityAlreadyLinked));
    let new = ApiKeyCreate::new("reader of Rust".to_owned(), vec![Scope::UsersColonRead]);
    let reader = api_keys_api::create_api_key(&aka, tenant, new, None).await.expect("a key");
    let refused = link(&with_key(&reader.raw_key), &users[1]).await.expect_err("it may not");
    assert_eq!(refusal(refused), (403, ErrorCode::Forbidden));

    let list = identities_api::list_user_identities(&aka, tenant, &users[0], None, None).await;
    assert_eq!(list.expect("a list").data, [linked.clone()]);
    let identity = linked.id.to_string();
    identities_api::delete_user_identity(&aka, tenant, &users[0], &identity).await.expect("unlinked");
    println!("Rust: user, provider, link, list, unlink; 409 and 403 read by their types");
}
