//! The operations of the contract, as far as tests treat them alike: what each needs, and what its body may have.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Caller, caller::Request, unique};

/// What a credential can be given.
pub const SCOPES: &[&str] = &[
    "identities:read",
    "identities:write",
    "users:read",
    "users:write",
    "identity-providers:read",
    "identity-providers:write",
    "token-issuers:write",
    "api-keys:read",
    "api-keys:write",
    "policies:read",
    "policies:write",
    "tenants:read",
    "tenants:write",
];

/// One operation.
pub struct Operation {
    pub id: &'static str,
    pub method: Method,
    /// With the kind of each id in braces: `/v1/users/{user}/identities/{identity}`.
    pub path: &'static str,
    /// What a credential needs for it where no rule of the tenant says otherwise.
    pub scope: &'static str,
    /// Its fields, where it has a body.
    pub body: Option<&'static [Field]>,
}

/// A field of a body.
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub takes: Takes,
}

/// What a field takes.
#[derive(Clone, Copy)]
pub enum Takes {
    /// A text of at most so many characters.
    Text(usize),
    Email,
    Slug,
    Uuid,
    Flag,
    /// A whole number in a range.
    Number(i64, i64),
    Roles,
    Scopes,
    Object,
    Time,
    ProviderType,
    /// One Cedar statement.
    Rule,
    /// Cedar statements.
    Rules,
    /// Policies that might be.
    Candidates,
    /// Ids of things.
    Order,
    /// A name of a certain form, of which this is one.
    Name(&'static str),
}

use Takes::{
    Candidates, Email, Flag, Name, Number, Object, Order, ProviderType, Roles, Rule, Rules, Scopes, Slug, Text, Time,
};

const fn needs(name: &'static str, takes: Takes) -> Field {
    Field {
        name,
        required: true,
        takes,
    }
}

const fn may_have(name: &'static str, takes: Takes) -> Field {
    Field {
        name,
        required: false,
        takes,
    }
}

const API_KEY: &[Field] = &[
    needs("name", Text(256)),
    needs("scopes", Scopes),
    may_have("identity_provider_id", Takes::Uuid),
    may_have("expires_at", Time),
];

/// Every operation that needs a credential.
pub const OPERATIONS: &[Operation] = &[
    operation("listUsers", Method::GET, "/v1/users", "users:read", None),
    operation(
        "createUser",
        Method::POST,
        "/v1/users",
        "users:write",
        Some(&[
            needs("email", Email),
            needs("name", Text(256)),
            may_have("roles", Roles),
        ]),
    ),
    operation("getUser", Method::GET, "/v1/users/{user}", "users:read", None),
    operation(
        "updateUser",
        Method::PUT,
        "/v1/users/{user}",
        "users:write",
        Some(&[
            may_have("email", Email),
            may_have("email_verified", Flag),
            may_have("name", Text(256)),
            may_have("roles", Roles),
        ]),
    ),
    operation(
        "suspendUser",
        Method::POST,
        "/v1/users/{user}/suspend",
        "users:write",
        Some(&[needs("active", Flag)]),
    ),
    operation("deleteUser", Method::DELETE, "/v1/users/{user}", "users:write", None),
    operation(
        "listUserIdentities",
        Method::GET,
        "/v1/users/{user}/identities",
        "identities:read",
        None,
    ),
    operation(
        "createUserIdentity",
        Method::POST,
        "/v1/users/{user}/identities",
        "identities:write",
        Some(&[
            needs("identity_provider_id", Takes::Uuid),
            needs("external_id", Text(256)),
            may_have("external_username", Text(256)),
            may_have("external_email", Email),
            may_have("external_display_name", Text(256)),
        ]),
    ),
    operation(
        "getUserIdentity",
        Method::GET,
        "/v1/users/{user}/identities/{identity}",
        "identities:read",
        None,
    ),
    operation(
        "deleteUserIdentity",
        Method::DELETE,
        "/v1/users/{user}/identities/{identity}",
        "identities:write",
        None,
    ),
    operation(
        "getIdentity",
        Method::GET,
        "/v1/identities/{identity}",
        "identities:read",
        None,
    ),
    operation(
        "updateIdentity",
        Method::PATCH,
        "/v1/identities/{identity}",
        "identities:write",
        Some(&[
            may_have("external_username", Text(256)),
            may_have("external_email", Email),
            may_have("external_display_name", Text(256)),
        ]),
    ),
    operation(
        "lookupIdentity",
        Method::GET,
        "/v1/identities/lookup?identity_provider_id={provider}&external_id=583231",
        "identities:read",
        None,
    ),
    operation(
        "listIdentityProviders",
        Method::GET,
        "/v1/identity-providers",
        "identity-providers:read",
        None,
    ),
    operation(
        "createIdentityProvider",
        Method::POST,
        "/v1/identity-providers",
        "identity-providers:write",
        Some(&[
            needs("name", Text(256)),
            needs("provider_type", ProviderType),
            may_have("config", Object),
            may_have("enabled", Flag),
        ]),
    ),
    operation(
        "getIdentityProvider",
        Method::GET,
        "/v1/identity-providers/{provider}",
        "identity-providers:read",
        None,
    ),
    operation(
        "updateIdentityProvider",
        Method::PUT,
        "/v1/identity-providers/{provider}",
        "identity-providers:write",
        Some(&[
            may_have("name", Text(256)),
            may_have("config", Object),
            may_have("enabled", Flag),
        ]),
    ),
    operation(
        "deleteIdentityProvider",
        Method::DELETE,
        "/v1/identity-providers/{provider}",
        "identity-providers:write",
        None,
    ),
    operation("listTenants", Method::GET, "/v1/tenants", "tenants:read", None),
    operation(
        "createTenant",
        Method::POST,
        "/v1/tenants",
        "tenants:write",
        Some(&[needs("name", Text(256)), needs("slug", Slug)]),
    ),
    operation("getTenant", Method::GET, "/v1/tenants/{tenant}", "tenants:read", None),
    operation(
        "updateTenant",
        Method::PUT,
        "/v1/tenants/{tenant}",
        "tenants:write",
        Some(&[may_have("name", Text(256))]),
    ),
    operation(
        "createTenantApiKey",
        Method::POST,
        "/v1/tenants/{tenant}/api-keys",
        "tenants:write",
        Some(API_KEY),
    ),
    operation("listApiKeys", Method::GET, "/v1/api-keys", "api-keys:read", None),
    operation(
        "createApiKey",
        Method::POST,
        "/v1/api-keys",
        "api-keys:write",
        Some(API_KEY),
    ),
    operation("getApiKey", Method::GET, "/v1/api-keys/{key}", "api-keys:read", None),
    operation(
        "getApiKeyCapabilities",
        Method::GET,
        "/v1/api-keys/{key}/capabilities",
        "api-keys:read",
        None,
    ),
    operation(
        "revokeApiKey",
        Method::DELETE,
        "/v1/api-keys/{key}",
        "api-keys:write",
        None,
    ),
    operation(
        "rotateApiKey",
        Method::POST,
        "/v1/api-keys/{key}/rotate",
        "api-keys:write",
        Some(&[may_have("overlap_seconds", Number(0, 2_592_000))]),
    ),
    operation("listPolicies", Method::GET, "/v1/policies", "policies:read", None),
    operation(
        "createPolicy",
        Method::POST,
        "/v1/policies",
        "policies:write",
        Some(&[
            needs("name", Text(256)),
            may_have("description", Text(2000)),
            may_have("enabled", Flag),
            may_have("priority", Number(-1_000_000, 1_000_000)),
            may_have("cedar_policy_set", Rules),
        ]),
    ),
    operation("getPolicy", Method::GET, "/v1/policies/{policy}", "policies:read", None),
    operation(
        "updatePolicy",
        Method::PATCH,
        "/v1/policies/{policy}",
        "policies:write",
        Some(&[
            may_have("name", Text(256)),
            may_have("description", Text(2000)),
            may_have("enabled", Flag),
            may_have("priority", Number(-1_000_000, 1_000_000)),
            may_have("cedar_policy_set", Rules),
        ]),
    ),
    operation(
        "exportPolicy",
        Method::GET,
        "/v1/policies/{policy}/export",
        "policies:read",
        None,
    ),
    operation(
        "reorderPolicies",
        Method::PATCH,
        "/v1/policies/reorder",
        "policies:write",
        Some(&[needs("ids", Order)]),
    ),
    operation(
        "getPolicySchema",
        Method::GET,
        "/v1/policies/schema",
        "policies:read",
        None,
    ),
    operation(
        "evaluatePolicies",
        Method::POST,
        "/v1/policies/evaluate",
        "policies:read",
        Some(&[
            needs("principal", Name("user:nobody@example.com")),
            needs("resource", Name("user:0198c5a0-0000-7000-8000-000000000001")),
            needs("action", Name("getUser")),
            may_have("context", Object),
        ]),
    ),
    operation(
        "previewPolicies",
        Method::POST,
        "/v1/policies/preview",
        "policies:read",
        Some(&[
            may_have("without_policy_ids", Order),
            may_have("without_rule_ids", Order),
            may_have("with_policy_ids", Order),
            may_have("with", Candidates),
            may_have("last", Number(1, 1000)),
        ]),
    ),
    operation("listDecisions", Method::GET, "/v1/decisions", "policies:read", None),
    operation(
        "getDecision",
        Method::GET,
        "/v1/decisions/{decision}",
        "policies:read",
        None,
    ),
    operation(
        "deletePolicy",
        Method::DELETE,
        "/v1/policies/{policy}",
        "policies:write",
        None,
    ),
    operation(
        "listPolicyRules",
        Method::GET,
        "/v1/policies/{policy}/rules",
        "policies:read",
        None,
    ),
    operation(
        "createPolicyRule",
        Method::POST,
        "/v1/policies/{policy}/rules",
        "policies:write",
        Some(&[needs("policy_text", Rule), may_have("notice", Text(2000))]),
    ),
    operation(
        "getPolicyRule",
        Method::GET,
        "/v1/policies/{policy}/rules/{rule}",
        "policies:read",
        None,
    ),
    operation(
        "updatePolicyRule",
        Method::PATCH,
        "/v1/policies/{policy}/rules/{rule}",
        "policies:write",
        Some(&[may_have("policy_text", Rule), may_have("notice", Text(2000))]),
    ),
    operation(
        "reorderPolicyRules",
        Method::PATCH,
        "/v1/policies/{policy}/rules/reorder",
        "policies:write",
        Some(&[needs("ids", Order)]),
    ),
    operation(
        "deletePolicyRule",
        Method::DELETE,
        "/v1/policies/{policy}/rules/{rule}",
        "policies:write",
        None,
    ),
];

const fn operation(
    id: &'static str,
    method: Method,
    path: &'static str,
    scope: &'static str,
    body: Option<&'static [Field]>,
) -> Operation {
    Operation {
        id,
        method,
        path,
        scope,
        body,
    }
}

/// An operation by its id.
pub fn named(id: &str) -> &'static Operation {
    OPERATIONS
        .iter()
        .find(|operation| operation.id == id)
        .expect("an operation of the contract")
}

/// The operations that have a body, with its fields.
pub fn with_body() -> impl Iterator<Item = (&'static Operation, &'static [Field])> {
    OPERATIONS
        .iter()
        .filter_map(|operation| Some((operation, operation.body?)))
}

/// The operations that list, page by page.
pub fn lists() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| operation.id.starts_with("list"))
}

impl Operation {
    /// Whether it is for the master tenant only.
    pub fn is_of_master(&self) -> bool {
        self.scope.starts_with("tenants:")
    }

    /// Somebody who may call it, where the one at hand has every scope of a tenant.
    pub fn caller(&self, tenant: &Caller) -> Caller {
        if self.is_of_master() {
            tenant.aka().master()
        } else {
            tenant.clone()
        }
    }

    /// Whether it can change something.
    pub fn changes(&self) -> bool {
        self.scope.ends_with(":write")
    }

    /// Its path, with an id for each kind.
    pub fn path_with(&self, mut id_of: impl FnMut(&str) -> String) -> String {
        let mut path = String::new();
        let mut rest = self.path;
        while let Some((before, after)) = rest.split_once('{') {
            let (kind, after) = after.split_once('}').expect("braces come in pairs");
            path.push_str(before);
            path.push_str(&id_of(kind));
            rest = after;
        }
        path + rest
    }

    /// Its path, with ids that nothing has.
    pub fn path_to_nothing(&self) -> String {
        self.path_with(|_| Uuid::now_v7().to_string())
    }

    /// A body that it takes.
    pub fn sample(&self) -> Option<Value> {
        let fields = self.body?;
        Some(
            fields
                .iter()
                .map(|field| (field.name.to_owned(), field.takes.sample()))
                .collect(),
        )
    }

    /// A request for it that is right in its form, by somebody, on things that do not exist.
    pub fn request(&self, caller: &Caller) -> Request {
        self.request_at(caller, self.path_to_nothing())
    }

    /// A request for it that is right in its form, by somebody, on a path.
    pub fn request_at(&self, caller: &Caller, path: String) -> Request {
        let request = caller.request(self.method.clone(), path);
        match self.sample() {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// A request for it with another body, on things that do not exist.
    pub fn request_with(&self, caller: &Caller, body: &Value) -> Request {
        caller.request(self.method.clone(), self.path_to_nothing()).json(body)
    }
}

impl Takes {
    /// A value that it takes.
    pub fn sample(self) -> Value {
        match self {
            Text(_) => json!(unique("Ada Lovelace")),
            Email => json!(format!("{}@example.com", unique("ada"))),
            Slug => json!(unique("acme")),
            Self::Uuid => json!(Uuid::now_v7()),
            Flag => json!(true),
            Number(..) => json!(60),
            Roles => json!(["admin"]),
            Scopes => json!(["users:read"]),
            Object => json!({ "domain": "example.com" }),
            Time => json!("2099-01-01T00:00:00Z"),
            ProviderType => json!("github"),
            Order => json!([]),
            Candidates => json!([{ "cedar_policy_set": Rules.sample() }]),
            Name(name) => json!(name),
            Rule | Rules => json!("permit(principal, action == Action::\"getUser\", resource);"),
        }
    }

    /// Values that it does not take, each for another reason.
    #[expect(clippy::too_many_lines, reason = "it is a list")]
    pub fn refuses(self) -> Vec<Value> {
        match self {
            Text(most) => refused_texts(most),
            Email => {
                let mut refused = refused_texts(254);
                let none = [
                    "ada",
                    "@example.com",
                    "ada@",
                    "a b@example.com",
                    "ada@@example.com",
                    "Ada <ada@example.com>",
                ];
                refused.extend(none.map(Value::from));
                refused.push(format!("{}@example.com", "a".repeat(300)).into());
                refused
            }
            Slug => {
                let none = ["", " ", "Acme", "-acme", "acme-", "ac_me", "ac me", "acme\u{0}", "äcme"];
                let mut refused: Vec<Value> = none.map(Value::from).into();
                refused.extend([json!("a".repeat(64)), json!(5), json!(null), json!(["acme"])]);
                refused
            }
            Self::Uuid => vec![
                json!(""),
                json!("not-a-uuid"),
                json!("0198c5a0-0000-7000-8000-00000000000g"),
                json!(5),
                json!(true),
                json!({}),
                json!([]),
            ],
            Flag => vec![json!("true"), json!(1), json!("yes"), json!([]), json!({})],
            Number(least, most) => {
                vec![
                    json!(least - 1),
                    json!(i32::MIN),
                    json!(most + 1),
                    json!(1.5),
                    json!("5"),
                    json!(true),
                    json!([]),
                    json!({}),
                ]
            }
            Roles => vec![
                json!("admin"),
                json!({}),
                json!([5]),
                json!([null]),
                json!([""]),
                json!(["  "]),
                json!(["ad\u{0}min"]),
                json!(["a".repeat(300)]),
            ],
            Scopes => vec![
                json!("users:read"),
                json!({}),
                json!([5]),
                json!([""]),
                json!(["users"]),
                json!(["users:*"]),
                json!(["everything"]),
                json!(["users:read", "users:admin"]),
                json!([]),
            ],
            Object => vec![json!([]), json!("{}"), json!(5), json!(true)],
            Time => vec![
                json!("tomorrow"),
                json!("2099-01-01"),
                json!("2099-13-01T00:00:00Z"),
                json!("2099-01-01T00:00:00"),
                json!("2001-01-01T00:00:00Z"),
                json!(4_070_908_800_i64),
                json!(true),
            ],
            ProviderType => vec![
                json!("myspace"),
                json!("GitHub"),
                json!(""),
                json!(5),
                json!(null),
                json!([]),
            ],
            Rule => {
                let two = "permit(principal, action, resource); permit(principal, action, resource);";
                let mut refused = refused_rules();
                refused.extend(["", " ", "// nothing", two].map(Value::from));
                refused
            }
            Rules => refused_rules(),
            Candidates => vec![
                json!("x"),
                json!({}),
                json!([5]),
                json!([{}]),
                json!([{ "cedar_policy_set": 5 }]),
                json!([{ "cedar_policy_set": "", "priority": 1_000_001 }]),
                json!([{ "cedar_policy_set": "", "enabled": "yes" }]),
                json!([{ "cedar_policy_set": "", "colour": "blue" }]),
                json!(vec![json!({ "cedar_policy_set": "" }); 101]),
            ],
            Order => vec![json!("x"), json!({}), json!(["x"]), json!([5]), json!([null])],
            Name(_) => vec![
                json!(""),
                json!("nobody"),
                json!("robot:5"),
                json!(5),
                json!(true),
                json!([]),
                json!({}),
            ],
        }
    }
}

fn refused_texts(most: usize) -> Vec<Value> {
    vec![
        json!(""),
        json!("   "),
        json!("\u{3000}"),
        json!(" Ada"),
        json!("Ada "),
        json!("A\u{0}da"),
        json!("A\u{7}da"),
        json!("A\nda"),
        json!("A\u{85}da"),
        json!("é".repeat(most + 1)),
        json!(5),
        json!(true),
        json!(["Ada"]),
        json!({ "name": "Ada" }),
    ]
}

fn refused_rules() -> Vec<Value> {
    vec![
        json!("permit"),
        json!("permit(principal, action, resource)"),
        json!("permit(principal, action == Action::\"eatCake\", resource);"),
        json!("permit(principal, action, resource) when { principal.shoe_size > 40 };"),
        json!("permit(principal == ?principal, action, resource);"),
        json!("perm\u{0}it(principal, action, resource);"),
        json!("permit(principal, action, resource) when { \"a\u{0}\" == \"b\" };"),
        json!("// \u{0}\npermit(principal, action, resource);"),
        // Brackets in strings are none: these nest, and would exhaust the stack.
        json!(format!(
            "permit(principal, action, resource) when {{ [{}1{}] == [] }};",
            "\")\", [".repeat(1000),
            "]".repeat(1000)
        )),
        json!(format!(
            "forbid(principal, action, resource) when {{ {}true{} }};",
            "(\";)\" == \";\" && ".repeat(600),
            ")".repeat(600)
        )),
        json!(5),
        json!([]),
        json!({}),
    ]
}
