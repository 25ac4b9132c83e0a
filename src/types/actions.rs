//! The actions: the operations of the API, by their operation ids, in the groups that scopes name.

use std::{fmt, str::FromStr};

use super::scopes::Scope;

macro_rules! actions {
    ($($name:ident = $text:literal in $scope:ident;)*) => {
        /// An operation that policy decides.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = concat!("The operation `", $text, "`.")] $name,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The operation id.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The group that the action belongs to.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope),* }
            }
        }

        impl FromStr for Action {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$name),)*
                    _ => Err(format!("\"{}\" is not an action", text.escape_debug())),
                }
            }
        }
    };
}

actions! {
    ListUserIdentities = "listUserIdentities" in IdentitiesRead;
    GetUserIdentity = "getUserIdentity" in IdentitiesRead;
    GetIdentity = "getIdentity" in IdentitiesRead;
    UpdateIdentity = "updateIdentity" in IdentitiesWrite;
    LookupIdentity = "lookupIdentity" in IdentitiesRead;
    CreateUserIdentity = "createUserIdentity" in IdentitiesWrite;
    DeleteUserIdentity = "deleteUserIdentity" in IdentitiesWrite;
    ListUsers = "listUsers" in UsersRead;
    GetUser = "getUser" in UsersRead;
    CreateUser = "createUser" in UsersWrite;
    UpdateUser = "updateUser" in UsersWrite;
    SuspendUser = "suspendUser" in UsersWrite;
    DeleteUser = "deleteUser" in UsersWrite;
    ListIdentityProviders = "listIdentityProviders" in IdentityProvidersRead;
    GetIdentityProvider = "getIdentityProvider" in IdentityProvidersRead;
    CreateIdentityProvider = "createIdentityProvider" in IdentityProvidersWrite;
    UpdateIdentityProvider = "updateIdentityProvider" in IdentityProvidersWrite;
    DeleteIdentityProvider = "deleteIdentityProvider" in IdentityProvidersWrite;
    ConfigureTokenIssuer = "configureTokenIssuer" in TokenIssuersWrite;
    ListApiKeys = "listApiKeys" in ApiKeysRead;
    GetApiKey = "getApiKey" in ApiKeysRead;
    GetApiKeyCapabilities = "getApiKeyCapabilities" in ApiKeysRead;
    CreateApiKey = "createApiKey" in ApiKeysWrite;
    RotateApiKey = "rotateApiKey" in ApiKeysWrite;
    RevokeApiKey = "revokeApiKey" in ApiKeysWrite;
    ListPolicies = "listPolicies" in PoliciesRead;
    GetPolicy = "getPolicy" in PoliciesRead;
    CreatePolicy = "createPolicy" in PoliciesWrite;
    UpdatePolicy = "updatePolicy" in PoliciesWrite;
    DeletePolicy = "deletePolicy" in PoliciesWrite;
    ReorderPolicies = "reorderPolicies" in PoliciesWrite;
    ExportPolicy = "exportPolicy" in PoliciesRead;
    GetPolicySchema = "getPolicySchema" in PoliciesRead;
    EvaluatePolicies = "evaluatePolicies" in PoliciesRead;
    PreviewPolicies = "previewPolicies" in PoliciesRead;
    ListDecisions = "listDecisions" in PoliciesRead;
    GetDecision = "getDecision" in PoliciesRead;
    ListPolicyRules = "listPolicyRules" in PoliciesRead;
    GetPolicyRule = "getPolicyRule" in PoliciesRead;
    CreatePolicyRule = "createPolicyRule" in PoliciesWrite;
    UpdatePolicyRule = "updatePolicyRule" in PoliciesWrite;
    DeletePolicyRule = "deletePolicyRule" in PoliciesWrite;
    ReorderPolicyRules = "reorderPolicyRules" in PoliciesWrite;
    ListTenants = "listTenants" in TenantsRead;
    GetTenant = "getTenant" in TenantsRead;
    CreateTenant = "createTenant" in TenantsWrite;
    UpdateTenant = "updateTenant" in TenantsWrite;
    CreateTenantApiKey = "createTenantApiKey" in TenantsWrite;
}

/// What kind of thing an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// The tenant as a whole: lists, and things that are not there yet.
    Tenant,
    /// A user, or their identities.
    User,
    /// An identity provider, or its accounts.
    IdentityProvider,
    /// An API key.
    ApiKey,
    /// A policy, or its rules.
    Policy,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
