//! Tenants: companies, or parts of one. Only credentials of the master tenant get past the built-in policy here.

use aka_entity::tenant;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{CreateTenant, UpdateTenant};
use crate::{
    access::caller::{PolicyContext, Target},
    http::{
        Tag,
        answers::{Created, CreatedTagged, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        error::Error,
        etag::etag,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    resources::{
        api_keys::{
            CreateApiKey,
            api::{ApiKeyCreate, CreatedApiKey, new_key},
        },
        tenants,
    },
    types::{
        actions::Action,
        clock::Timestamp,
        ids::TenantId,
        text::{Name, Slug},
    },
};

/// A company, or a part of one. Everything else belongs to exactly one tenant.
#[derive(Debug, Object, Serialize)]
pub struct Tenant {
    /// The id of the tenant: what `X-Tenant-ID` takes.
    pub id: TenantId,
    /// The name of the tenant.
    pub name: String,
    /// Its short name in commands. No two tenants have the same.
    pub slug: String,
    /// Whether its credentials manage tenants.
    pub is_master: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// A tenant with its state.
    fn tagged(tenant: tenant::Model) -> Tagged<Self> {
        let etag = etag(&tenants::revision(&tenant));
        Tagged::Done(Answer(tenant.into()), etag)
    }
}

impl From<tenant::Model> for Tenant {
    fn from(tenant: tenant::Model) -> Self {
        Self {
            id: TenantId(tenant.id),
            name: tenant.name,
            slug: tenant.slug,
            is_master: tenant.is_master,
            created_at: Timestamp(tenant.created_at),
            updated_at: Timestamp(tenant.updated_at),
        }
    }
}

/// A new tenant.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct TenantCreate {
    /// Its name.
    pub name: Name,
    /// Its short name in commands. It does not change later.
    pub slug: Slug,
}

/// The fields of a tenant to change; absent fields stay as they are.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct TenantUpdate {
    /// Its name.
    #[oai(nullable)]
    pub name: Option<Name>,
}

/// The operations on tenants.
pub struct TenantsApi;

#[OpenApi(tag = "Tag::Tenants")]
impl TenantsApi {
    /// List tenants
    ///
    /// The oldest first.
    #[oai(path = "/v1/tenants", method = "get", operation_id = "listTenants")]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<Tenant>>, Error> {
        let list = List::new("tenants", caller.tenant_id(), "");
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let rows = tenants::list(caller.store(), wanted.after, wanted.to_read()).await?;
        Ok(Answer(list.page(&wanted, rows, |tenant| tenant.id, Tenant::from)))
    }

    /// Create a tenant
    ///
    /// Its first API key is made with `createTenantApiKey`.
    #[oai(path = "/v1/tenants", method = "post", operation_id = "createTenant")]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        body: Body<TenantCreate>,
    ) -> Result<Replayable<CreatedTagged<Tenant>>, Error> {
        let Body(TenantCreate { name, slug }) = body;
        let permit = caller.may(Target::Tenant).await?;
        let id = TenantId::new();
        let change = CreateTenant {
            permit,
            id,
            name,
            slug,
            is_master: false,
        };
        let answer = move |tenant: tenant::Model| {
            let etag = etag(&tenants::revision(&tenant));
            Ok(CreatedTagged::Created(
                Answer(tenant.into()),
                format!("/v1/tenants/{id}"),
                etag,
            ))
        };
        Ok(caller.write(change, answer).await?)
    }

    /// Get a tenant
    #[oai(path = "/v1/tenants/:id", method = "get", operation_id = "getTenant")]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The tenant that is asked for.
        id: Path<TenantId>,
    ) -> Result<Tagged<Tenant>, Error> {
        caller.may(Target::Tenant).await?;
        let tenant = tenants::find(caller.store(), id.0).await?;
        Ok(Tenant::tagged(tenant.ok_or_else(|| Error::no_such("tenant", id.0))?))
    }

    /// Change a tenant
    ///
    /// Absent fields stay as they are.
    #[oai(path = "/v1/tenants/:id", method = "put", operation_id = "updateTenant")]
    async fn update(
        &self,
        caller: ApiCaller<'_>,
        /// The tenant that is to be changed.
        id: Path<TenantId>,
        body: Body<TenantUpdate>,
    ) -> Result<Tagged<Tenant>, Error> {
        let permit = caller.may(Target::Tenant).await?;
        let change = UpdateTenant {
            permit,
            id: id.0,
            name: body.0.name,
        };
        Ok(Tenant::tagged(caller.change(change).await?))
    }

    /// Create an API key for a tenant
    ///
    /// How a new tenant gets its first key. The answer has the key itself, in `raw_key`; it is not shown again. The key
    /// can be given only scopes that the caller has, and if the caller is a key that expires, it must expire no later.
    #[oai(
        path = "/v1/tenants/:id/api-keys",
        method = "post",
        operation_id = "createTenantApiKey"
    )]
    async fn create_api_key(
        &self,
        caller: ApiCaller<'_>,
        /// The tenant that gets the key.
        id: Path<TenantId>,
        body: Body<ApiKeyCreate>,
    ) -> Result<Replayable<Created<CreatedApiKey>>, Error> {
        let key = body.0.check()?;
        let own = id.0 == caller.tenant_id();
        let caller = caller.knowing(key.identity_provider_id.filter(|_| own)).await?;
        // A provider of another tenant is nothing that policy could look at here.
        let for_tenant = || {
            let context = key.context().into_iter();
            PolicyContext::of(context.filter(|(name, _)| *name != "identity_provider"))
        };
        let permit = caller.may_with(Target::Tenant, for_tenant).await?;
        if own {
            // In its own tenant this is no more than making a key.
            caller
                .may_also(Action::CreateApiKey, Target::Tenant, || new_key(&caller, &key))
                .await?;
        }
        let change = CreateApiKey::for_tenant(permit, id.0, key);
        Ok(caller.write(change, |made| Ok(CreatedApiKey::created(made))).await?)
    }
}
