//! A system with accounts: a directory, a chat system, a code host.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identity_providers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// The name in lower case. Unique in the tenant, because people identify providers by name.
    pub name_key: String,
    pub provider_type: ProviderType,
    /// The part of the configuration that may be shown.
    #[sea_orm(column_type = "JsonBinary")]
    pub config: Json,
    /// The rest of the configuration: a JSON object, encrypted for this row. Null in a row of an older version of the program;
    /// `config` is then the whole configuration.
    pub secrets: Option<Vec<u8>>,
    /// The `issuer` of the configuration, if tokens of this provider are accepted. Unique in the tenant.
    pub token_issuer: Option<String>,
    pub enabled: bool,
    pub last_synced_at: Option<i64>,
    pub sync_status: SyncStatus,
    pub sync_error: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// When it was deleted, while its accounts are still being removed. For callers it no longer exists.
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The kind of system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum ProviderType {
    AwsIdentityCenter,
    Okta,
    AzureAd,
    GoogleWorkspace,
    Slack,
    Github,
    Pagerduty,
    CustomScim,
    Oidc,
}

/// The result of the last synchronization with the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum SyncStatus {
    Pending,
    Syncing,
    Synced,
    Failed,
}
