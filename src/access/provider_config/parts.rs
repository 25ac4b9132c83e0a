//! A configuration as it is stored: what may be shown of it, and its secrets, which are sealed for their row
//! ([`crate::store::sealing`]).

use aka_entity::identity_provider::{self, ProviderType};
use async_trait::async_trait;
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _, sea_query::Expr};
use serde_json::{Map, Value};

use super::shown::{is_name, may_be_shown};
use crate::{
    store::{Applied, Change, Store, StoreError, Tx, root_key::RootKey, sealing::Place},
    types::ids::TenantId,
};

/// For the derivation of the keys under which secrets are sealed.
const PURPOSE: &str = "identity provider secrets";
/// Rows of an older version of the program that are sealed with one commit.
const SEALED_AT_A_TIME: u64 = 100;

/// A whole configuration in two parts, which have no field in common.
#[derive(Clone, Default, PartialEq)]
pub struct Parts {
    shown: Map<String, Value>,
    pub(super) secrets: Map<String, Value>,
}

impl Parts {
    /// The parts of a configuration.
    #[must_use]
    pub fn of(provider_type: ProviderType, config: Value) -> Self {
        let Value::Object(config) = config else {
            return Self::default();
        };
        let parts = config
            .into_iter()
            .partition(|(name, value)| may_be_shown(provider_type, name, value));
        let (shown, secrets): (Map<_, _>, Map<_, _>) = parts;
        Self { shown, secrets }
    }

    /// The parts of a stored configuration.
    ///
    /// # Errors
    ///
    /// Where the secrets cannot be opened.
    pub fn open(provider: &identity_provider::Model, root_key: &RootKey) -> Result<Self, StoreError> {
        let mut whole = provider.config.as_object().cloned().unwrap_or_default();
        if let Some(sealed) = &provider.secrets {
            let cannot = || StoreError::Fault(format!("the secrets of provider {} cannot be opened", provider.id));
            let secrets = place(provider).open(root_key, sealed).map_err(|_| cannot())?;
            let secrets: Map<String, Value> = serde_json::from_slice(&secrets).map_err(|_| cannot())?;
            whole.extend(secrets);
        }
        Ok(Self::of(provider.provider_type, Value::Object(whole)))
    }

    /// The configuration, for use.
    #[must_use]
    pub fn whole(&self) -> Value {
        let mut whole = self.shown.clone();
        whole.extend(self.secrets.clone());
        Value::Object(whole)
    }

    /// The names of the secrets that may be shown themselves.
    #[must_use]
    pub fn names_of_secrets(&self) -> Vec<String> {
        let mut names: Vec<String> = self.secrets.keys().filter(|name| is_name(name)).cloned().collect();
        names.sort_unstable();
        names
    }

    /// What may be shown.
    #[must_use]
    pub fn into_shown(self) -> Map<String, Value> {
        self.shown
    }

    /// Puts the parts into a row.
    ///
    /// # Errors
    ///
    /// Where they cannot be sealed.
    pub fn store(&self, provider: &mut identity_provider::Model, root_key: &RootKey) -> Result<(), StoreError> {
        let cannot = |_| StoreError::Fault("the secrets of a provider cannot be sealed".into());
        let secrets = Value::Object(self.secrets.clone()).to_string();
        provider.secrets = Some(place(provider).seal(root_key, secrets.as_bytes()).map_err(cannot)?);
        provider.config = Value::Object(self.shown.clone());
        Ok(())
    }
}

fn place(provider: &identity_provider::Model) -> Place {
    Place {
        purpose: PURPOSE,
        tenant: TenantId(provider.tenant_id),
        row: provider.id,
    }
}

/// Seals the secrets in rows that an older version of the program has written, some of them.
struct SealRows;

#[async_trait]
impl Change for SealRows {
    /// How many rows it has sealed.
    type Done = u64;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<u64>, StoreError> {
        let rows = identity_provider::Entity::find()
            .filter(identity_provider::COLUMN.secrets.is_null())
            .limit(SEALED_AT_A_TIME)
            .all(tx.db)
            .await?;
        let mut sealed = 0;
        for mut row in rows {
            Parts::open(&row, tx.root_key)?.store(&mut row, tx.root_key)?;
            // Another node may have sealed it meanwhile.
            let updated = identity_provider::Entity::update_many()
                .col_expr(identity_provider::Column::Config, Expr::value(row.config))
                .col_expr(identity_provider::Column::Secrets, Expr::value(row.secrets))
                .filter(identity_provider::COLUMN.tenant_id.eq(row.tenant_id))
                .filter(identity_provider::COLUMN.id.eq(row.id))
                .filter(identity_provider::COLUMN.secrets.is_null())
                .exec(tx.db)
                .await?;
            sealed += updated.rows_affected;
        }
        Ok(Applied::unchanged(sealed))
    }
}

/// Seals the secrets in rows that an older version of the program has written. Nodes that start together share the work.
///
/// # Errors
///
/// [`StoreError`]
pub async fn seal_rows(store: &Store) -> Result<(), StoreError> {
    let mut sealed = 0;
    loop {
        match store.write(SealRows).await? {
            0 => break,
            some => sealed += some,
        }
    }
    if sealed > 0 {
        tracing::info!(providers = sealed, "sealed the secrets of identity providers");
        // They stood in the rows before.
        if let Err(error) = store.rewrite("identity_providers").await {
            tracing::warn!(
                %error,
                "the files of the database may still hold these secrets unsealed: run VACUUM (PostgreSQL: VACUUM FULL \
                 identity_providers)"
            );
        }
    }
    Ok(())
}
