//! A place where accounts live: a directory, a chat system, a code host.

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
    /// The name in lower case; unique in the tenant, because people tell providers apart by their names.
    pub name_key: String,
    pub provider_type: ProviderType,
    /// What may be shown of the configuration.
    #[sea_orm(column_type = "JsonBinary")]
    pub config: Json,
    /// The rest of it, a JSON object sealed for this row. Absent in a row of an older version of the program: `config` is
    /// then the whole configuration.
    pub secrets: Option<Vec<u8>>,
    /// The `issuer` of the configuration, where the provider is one whose tokens are accepted: unique in the tenant.
    pub token_issuer: Option<String>,
    pub enabled: bool,
    pub last_synced_at: Option<i64>,
    pub sync_status: SyncStatus,
    pub sync_error: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// When it was deleted, while its accounts are still being removed. To callers it does not exist any more.
    pub deleted_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

/// What kind of system the accounts are in.
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

/// How the last synchronisation with the provider went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum SyncStatus {
    Pending,
    Syncing,
    Synced,
    Failed,
}
