//! Identities: linking accounts to users, and finding them.

use std::sync::Arc;

use aka_entity::identity::{self, LinkedBy};
use cedar_policy::RestrictedExpression;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, types::MaybeUndefined};
use serde::{Deserialize, Serialize};

use super::{
    Account, Link, LinkRefusal, Linked, Unlink,
    errors::{LINKED_TO_USER_ID, WAYS_OUT, WayOut, account_not_found, identity_already_linked},
    revision,
    rows::{self, OfUser},
    update::{IdentityRefusal, Profile, UpdateIdentity},
};
use crate::{
    access::{
        self,
        accounts::{Found, Lookup},
        caller::{PolicyContext, Target},
        tenants::TenantState,
    },
    http::{
        Tag,
        answers::{Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        door::WriteError,
        error::Error,
        etag::etag,
        idempotency::Replayable,
        page::{List, MAX_LIMIT, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path, QueryParam},
    },
    resources::identity_providers::api::ProviderTypeName,
    types::{
        actions::Action,
        clock::Timestamp,
        ids::{IdentityId, IdentityProviderId, UserId},
        text::{Email, ExternalId, ExternalName},
    },
};

/// How often an identity is read again that is linked or unlinked between the decision and the change.
const ATTEMPTS: usize = 3;

/// The account to link. The server records who linked it and how.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct UserIdentityCreate {
    /// The account's identity provider.
    pub identity_provider_id: IdentityProviderId,
    /// The account's id at the provider: the one that never changes, not a name or an address. Taken as it is, case
    /// included.
    pub external_id: ExternalId,
    /// The account's name at the provider.
    #[oai(nullable)]
    pub external_username: Option<ExternalName>,
    /// The account's email address at the provider.
    #[oai(nullable)]
    pub external_email: Option<Email>,
    /// The account's display name at the provider.
    #[oai(nullable)]
    pub external_display_name: Option<ExternalName>,
}

/// What is known of an account at its provider; absent fields stay as they are, `null` removes one.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct IdentityUpdate {
    /// The account's name at the provider.
    #[serde(default)]
    pub external_username: MaybeUndefined<ExternalName>,
    /// The account's email address at the provider.
    #[serde(default)]
    pub external_email: MaybeUndefined<Email>,
    /// The account's display name at the provider.
    #[serde(default)]
    pub external_display_name: MaybeUndefined<ExternalName>,
}

impl From<IdentityUpdate> for Profile {
    fn from(update: IdentityUpdate) -> Self {
        #[expect(clippy::option_option, reason = "absent, null and a value are three things")]
        fn change<T>(field: MaybeUndefined<T>) -> Option<Option<T>> {
            match field {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(value) => Some(Some(value)),
            }
        }
        Self {
            username: change(update.external_username),
            email: change(update.external_email),
            display_name: change(update.external_display_name),
        }
    }
}

/// How an account was linked.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
#[oai(rename = "LinkedBy", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum LinkedByName {
    /// By a rule that found that account and user belong together.
    Auto,
    /// By a call of this API.
    Manual,
    /// By a directory, over SCIM.
    Scim,
}

impl From<LinkedBy> for LinkedByName {
    fn from(linked_by: LinkedBy) -> Self {
        match linked_by {
            LinkedBy::Auto => Self::Auto,
            LinkedBy::Manual => Self::Manual,
            LinkedBy::Scim => Self::Scim,
        }
    }
}

/// An account at an identity provider, and the user it is linked to.
#[derive(Debug, Object, Serialize)]
pub struct UserIdentity {
    /// The id of the identity. It stays the same when the account is unlinked and linked again.
    pub id: IdentityId,
    /// The user that the account is linked to. Null: the account is known, but not linked.
    #[oai(nullable)]
    pub user_id: Option<UserId>,
    /// Whether that user is active: not suspended. Null: the account is not linked.
    #[oai(nullable)]
    pub user_active: Option<bool>,
    /// The account's identity provider.
    pub identity_provider_id: IdentityProviderId,
    /// The provider's name.
    pub provider_name: String,
    /// The provider's type.
    pub provider_type: ProviderTypeName,
    /// The account's id at the provider.
    pub external_id: String,
    /// The account's name at the provider.
    #[oai(nullable)]
    pub external_username: Option<String>,
    /// The account's email address at the provider.
    #[oai(nullable)]
    pub external_email: Option<String>,
    /// The account's display name at the provider.
    #[oai(nullable)]
    pub external_display_name: Option<String>,
    /// How the account was last linked.
    pub linked_by: LinkedByName,
    /// When the account was last compared with the provider.
    #[oai(nullable)]
    pub last_synced_at: Option<Timestamp>,
    /// When the account became known.
    pub created_at: Timestamp,
    /// When the identity changed last.
    pub updated_at: Timestamp,
}

impl UserIdentity {
    /// As the wire shows it, with what the tenant knows of its provider.
    fn show(found: Found, tenant: &TenantState) -> Result<Self, Error> {
        let Found { identity, user_active } = found;
        let id = provider_of(&identity);
        let provider = tenant.identity_provider(id);
        let provider = provider.ok_or_else(|| Error::no_such("identity_provider", id))?;
        Ok(Self {
            id: IdentityId(identity.id),
            user_id: identity.user_id.map(UserId),
            user_active,
            identity_provider_id: IdentityProviderId(identity.identity_provider_id),
            provider_name: provider.model.name.clone(),
            provider_type: provider.model.provider_type.into(),
            external_id: identity.external_id,
            external_username: identity.external_username,
            external_email: identity.external_email,
            external_display_name: identity.external_display_name,
            linked_by: identity.linked_by.into(),
            last_synced_at: identity.last_synced_at.map(Timestamp),
            created_at: Timestamp(identity.created_at),
            updated_at: Timestamp(identity.updated_at),
        })
    }
}

impl UserIdentity {
    /// The identity with its state.
    fn tagged(found: Found, tenant: &TenantState) -> Result<Tagged<Self>, Error> {
        let provider = tenant.identity_provider(provider_of(&found.identity));
        let etag = etag(&revision(&found, provider.map(|provider| &provider.model)));
        Ok(Tagged::Done(Answer(Self::show(found, tenant)?), etag))
    }

    /// The identity as it is shown to a caller who may link accounts, but not read them: what they have sent, and ids. What
    /// is known of the account from before is not theirs to see.
    fn only_sent(self, sent: Account) -> Self {
        Self {
            external_username: sent.username.map(|username| username.to_string()),
            external_email: sent.email.map(|email| email.to_string()),
            external_display_name: sent.display_name.map(|name| name.to_string()),
            last_synced_at: None,
            ..self
        }
    }
}

const fn provider_of(identity: &identity::Model) -> IdentityProviderId {
    IdentityProviderId(identity.identity_provider_id)
}

/// What a decision on an identity of a user may look at: the provider at which the account is.
fn at_provider_of(tenant: &Arc<TenantState>, identity: Option<&identity::Model>) -> PolicyContext {
    at_provider(tenant, identity.map(provider_of))
}

fn at_provider(tenant: &Arc<TenantState>, provider: Option<IdentityProviderId>) -> PolicyContext {
    let provider = provider.map(|provider| tenant.identity_provider_entity(provider));
    let context = provider.as_ref().map(|provider| {
        let provider = RestrictedExpression::new_entity_uid(provider.uid.clone());
        ("identity_provider", provider)
    });
    PolicyContext {
        named: provider.map(|provider| provider.entity).into_iter().collect(),
        ..PolicyContext::of(context)
    }
}

/// What a decision on an identity is about: its user, or the tenant where there is none.
fn target_of(found: Option<&Found>) -> Target {
    let user = found.and_then(|found| found.identity.user_id);
    user.map_or(Target::Tenant, |user| Target::User(UserId(user)))
}

/// What a decision on a link or a change may look at of the account's description.
fn description(
    username: Option<&ExternalName>,
    email: Option<&Email>,
    display_name: Option<&ExternalName>,
) -> impl Iterator<Item = (&'static str, RestrictedExpression)> {
    let members = [
        ("external_username", username.map(ToString::to_string)),
        ("external_email", email.map(ToString::to_string)),
        ("external_email_domain", email.map(Email::domain)),
        ("external_display_name", display_name.map(ToString::to_string)),
    ];
    let members = members.into_iter();
    members.filter_map(|(name, value)| Some((name, RestrictedExpression::new_string(value?))))
}

/// What a decision on a look-up may look at.
fn lookup_of(external_id: &str) -> PolicyContext {
    PolicyContext::of([("external_id", RestrictedExpression::new_string(external_id.to_owned()))])
}

/// The answer to a link.
#[derive(ApiResponse)]
enum LinkAnswer {
    /// The account is linked to the user now: it was not known, or known and linked to nobody (then the identity keeps its id).
    #[oai(status = 201)]
    Linked(
        Answer<UserIdentity>,
        /// The path of the identity.
        #[oai(header = "Location")]
        String,
    ),
    /// The account was already linked to this user. Profile fields that were sent are updated; if they are the same,
    /// nothing changes. The call can be repeated safely.
    #[oai(status = 200)]
    AlreadyLinked(Answer<UserIdentity>),
}

/// The operations on identities.
pub struct IdentitiesApi;

#[OpenApi(tag = "Tag::Identities")]
impl IdentitiesApi {
    /// Link an account to a user
    ///
    /// Links an account at an identity provider to a user. One account (tenant, identity provider, external id) can be
    /// linked to one user only, even if several requests try at the same time.
    ///
    /// | at the time of the call | answer |
    /// |---|---|
    /// | nobody knows the account | `201`, a new identity |
    /// | the account is known, but linked to nobody | `201`, that identity, which keeps its id |
    /// | it is already linked to this user | `200`, with the profile fields that were sent: the call can be repeated safely |
    /// | it is already linked to another user | `409` `identity_already_linked` |
    /// | the provider is disabled | `409` `identity_provider_disabled` |
    /// | the user is suspended | `409` `user_suspended` |
    ///
    /// A caller who may not read the identity (`getUserIdentity`) is answered with what they have sent, and ids: not
    /// with what is known of the account from before.
    #[oai(
        path = "/v1/users/:id/identities",
        method = "post",
        operation_id = "createUserIdentity"
    )]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        /// The user to link the account to.
        id: Path<UserId>,
        body: Body<UserIdentityCreate>,
    ) -> Result<Replayable<LinkAnswer>, Error> {
        let (user, Body(new)) = (id.0, body);
        let caller = caller.knowing([new.identity_provider_id]).await?;
        let circumstances = || {
            let provider = caller.tenant().identity_provider_entity(new.identity_provider_id);
            let external_id = RestrictedExpression::new_string(new.external_id.to_string());
            let account = [
                ("identity_provider", RestrictedExpression::new_entity_uid(provider.uid)),
                ("external_id", external_id),
            ];
            let (username, display_name) = (new.external_username.as_ref(), new.external_display_name.as_ref());
            let context = account
                .into_iter()
                .chain(description(username, new.external_email.as_ref(), display_name));
            PolicyContext {
                named: vec![provider.entity],
                ..PolicyContext::of(context)
            }
        };
        let permit = caller.may_with(Target::User(user), circumstances).await?;
        let account = Account {
            identity_provider_id: new.identity_provider_id,
            external_id: new.external_id,
            username: new.external_username,
            email: new.external_email,
            display_name: new.external_display_name,
        };
        let may_read = || at_provider(caller.tenant(), Some(account.identity_provider_id));
        let may_read = caller
            .could(Action::GetUserIdentity, Target::User(user), may_read)
            .await?;
        let sent = (!may_read).then(|| account.clone());
        let change = Link::manual(permit, IdentityId::new(), user, account);
        let tenant = Arc::clone(caller.tenant());
        let answer = move |linked| {
            let show = |found| {
                let identity = UserIdentity::show(found, &tenant)?;
                Ok::<_, Error>(Answer(match sent.clone() {
                    Some(sent) => identity.only_sent(sent),
                    None => identity,
                }))
            };
            Ok(match linked {
                Linked::Now(found) => {
                    let location = format!("/v1/users/{user}/identities/{}", found.identity.id);
                    LinkAnswer::Linked(show(found)?, location)
                }
                Linked::Already(found) => LinkAnswer::AlreadyLinked(show(found)?),
            })
        };
        match caller.write(change, answer).await {
            Err(WriteError::Refused(LinkRefusal::LinkedToAnother(identity))) => {
                Err(self.taken(&caller, &identity).await)
            }
            outcome => Ok(outcome?),
        }
    }

    /// List the identities of a user
    ///
    /// Every account that is linked to the user, the oldest first. A key that is bound to an identity provider sees
    /// only accounts at this provider.
    #[oai(
        path = "/v1/users/:id/identities",
        method = "get",
        operation_id = "listUserIdentities"
    )]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit<MAX_LIMIT>>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<UserIdentity>>, Error> {
        let (tenant, user) = (caller.tenant_id(), id.0);
        let list = List::new("identities", tenant, &user.to_string());
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::User(user)).await?;
        let rows = if let Some(provider) = caller.bound_to() {
            let (after, limit) = (wanted.after, wanted.to_read());
            rows::list_at(caller.store(), tenant, user, provider, after, limit).await?
        } else {
            let of_user = OfUser {
                tenant,
                user,
                after: wanted.after,
                limit: wanted.to_read(),
            };
            caller.store().ask(of_user).await?
        };
        if rows.is_empty() && access::users::find(caller.store(), tenant, user).await?.is_none() {
            return Err(Error::no_such("user", user));
        }
        let caller = caller
            .knowing(rows.iter().map(|found| provider_of(&found.identity)))
            .await?;
        let rows = rows.into_iter().map(|found| UserIdentity::show(found, caller.tenant()));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(Answer(list.page(
            &wanted,
            rows,
            |identity| identity.id.0,
            |identity| identity,
        )))
    }

    /// Get an identity of a user
    #[oai(
        path = "/v1/users/:id/identities/:identityId",
        method = "get",
        operation_id = "getUserIdentity"
    )]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
        /// The identity.
        #[oai(name = "identityId")]
        identity_id: Path<IdentityId>,
    ) -> Result<Tagged<UserIdentity>, Error> {
        let found = rows::find(caller.store(), caller.tenant_id(), id.0, identity_id.0).await?;
        let known = found.as_ref().map(|found| &found.identity);
        let caller = caller.knowing(known.map(provider_of)).await?;
        let circumstances = || at_provider_of(caller.tenant(), known);
        caller.may_with(Target::User(id.0), circumstances).await?;
        let found = found.ok_or_else(|| Error::no_such("identity", identity_id.0))?;
        UserIdentity::tagged(found, caller.tenant())
    }

    /// Unlink an account from a user
    ///
    /// The account stays known, linked to nobody: a look-up still finds it, with `user_id` null, and linking it again
    /// gives the same identity.
    #[oai(
        path = "/v1/users/:id/identities/:identityId",
        method = "delete",
        operation_id = "deleteUserIdentity"
    )]
    async fn delete(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
        /// The identity.
        #[oai(name = "identityId")]
        identity_id: Path<IdentityId>,
    ) -> Result<Gone, Error> {
        // Where the account is does not change, so that it can be read before the change is made.
        let found = rows::find(caller.store(), caller.tenant_id(), id.0, identity_id.0).await?;
        let known = found.as_ref().map(|found| &found.identity);
        let caller = caller.knowing(known.map(provider_of)).await?;
        let circumstances = || at_provider_of(caller.tenant(), known);
        let permit = caller.may_with(Target::User(id.0), circumstances).await?;
        let unlinked = caller.change(Unlink::new(permit, id.0, identity_id.0)).await?;
        if unlinked {
            Ok(Gone::Done)
        } else {
            Err(Error::no_such("identity", identity_id.0))
        }
    }

    /// Get an identity by its id
    ///
    /// Whether it is linked or not.
    #[oai(path = "/v1/identities/:identityId", method = "get", operation_id = "getIdentity")]
    async fn get_by_id(
        &self,
        caller: ApiCaller<'_>,
        /// The identity.
        #[oai(name = "identityId")]
        identity_id: Path<IdentityId>,
    ) -> Result<Tagged<UserIdentity>, Error> {
        let (caller, found) = Self::known(caller, identity_id.0).await?;
        let context = || at_provider_of(caller.tenant(), found.as_ref().map(|found| &found.identity));
        caller.may_with(target_of(found.as_ref()), context).await?;
        let found = found.ok_or_else(|| Error::no_such("identity", identity_id.0))?;
        UserIdentity::tagged(found, caller.tenant())
    }

    /// Correct what is known of an account
    ///
    /// Its name, its email address, and how it is shown at its provider. A field that is absent stays; `null` removes it
    /// (RFC 7396, JSON Merge Patch). The account, its user and how it was linked do not change.
    #[oai(
        path = "/v1/identities/:identityId",
        method = "patch",
        operation_id = "updateIdentity"
    )]
    async fn update(
        &self,
        caller: ApiCaller<'_>,
        /// The identity.
        #[oai(name = "identityId")]
        identity_id: Path<IdentityId>,
        body: Body<IdentityUpdate>,
    ) -> Result<Replayable<Tagged<UserIdentity>>, Error> {
        let profile = Profile::from(body.0);
        let mut caller = caller;
        for _ in 0..ATTEMPTS {
            let found;
            (caller, found) = Self::known(caller, identity_id.0).await?;
            let found = found.as_ref();
            let context = || {
                let mut context = at_provider_of(caller.tenant(), found.map(|found| &found.identity));
                let Profile {
                    username,
                    email,
                    display_name,
                } = &profile;
                let described = description(
                    username.as_ref().and_then(Option::as_ref),
                    email.as_ref().and_then(Option::as_ref),
                    display_name.as_ref().and_then(Option::as_ref),
                );
                context
                    .context
                    .extend(described.map(|(name, value)| (name.into(), value)));
                context
            };
            let permit = caller.may_with(target_of(found), context).await?;
            let change = UpdateIdentity {
                permit,
                id: identity_id.0,
                user: found.and_then(|found| found.identity.user_id).map(UserId),
                profile: profile.clone(),
            };
            let tenant = Arc::clone(caller.tenant());
            match caller
                .write(change, move |found| UserIdentity::tagged(found, &tenant))
                .await
            {
                Err(WriteError::Refused(IdentityRefusal::Moved)) => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(IdentityRefusal::Moved.into())
    }

    /// Look up an account
    ///
    /// Returns the identity of an account at a provider, whether it is linked to a user or not.
    #[oai(path = "/v1/identities/lookup", method = "get", operation_id = "lookupIdentity")]
    async fn lookup(
        &self,
        caller: ApiCaller<'_>,
        /// The account's identity provider.
        identity_provider_id: QueryParam<IdentityProviderId>,
        /// The account's id at the provider, as it is, case included.
        external_id: QueryParam<ExternalId>,
    ) -> Result<Answer<UserIdentity>, Error> {
        let (provider, external_id) = (identity_provider_id.0, external_id.0);
        let caller = caller.knowing([provider]).await?;
        let circumstances = || lookup_of(external_id.as_str());
        caller
            .may_with(Target::IdentityProvider(provider), circumstances)
            .await?;
        let lookup = Lookup {
            tenant: caller.tenant_id(),
            identity_provider_id: provider,
            external_id,
        };
        let found = caller.store().ask(lookup).await?;
        // Of a provider that has been deleted, accounts may be left that are about to be removed.
        let exists = caller.tenant().identity_provider(provider).is_some();
        let found = found.filter(|_| exists).ok_or_else(|| account_not_found(provider))?;
        Ok(Answer(UserIdentity::show(found, caller.tenant())?))
    }
}

impl IdentitiesApi {
    /// An identity, and the caller with a tenant that knows its provider.
    async fn known(caller: ApiCaller<'_>, id: IdentityId) -> Result<(ApiCaller<'_>, Option<Found>), Error> {
        let found = rows::find_by_id(caller.store(), caller.tenant_id(), id).await?;
        let provider = found.as_ref().map(|found| provider_of(&found.identity));
        Ok((caller.knowing(provider).await?, found))
    }

    /// That the account is another user's: what is known of that link, and what this caller may do about it. Who the
    /// other user is, only a caller who may look the account up learns.
    async fn taken(&self, caller: &ApiCaller<'_>, identity: &identity::Model) -> Error {
        let error = identity_already_linked(identity);
        let mut ways_out = vec![WayOut {
            way: "use_another_account".into(),
            description: "Link another account, if this one was named by mistake.".into(),
            method: None,
            path: None,
        }];
        let Some(other) = identity.user_id.map(UserId) else {
            return error.with(&WAYS_OUT, ways_out);
        };
        let provider = Target::IdentityProvider(IdentityProviderId(identity.identity_provider_id));
        let context = || lookup_of(&identity.external_id);
        let may_look_up = caller.could(Action::LookupIdentity, provider, context).await;
        if !may_look_up.unwrap_or(false) {
            return error.with(&WAYS_OUT, ways_out);
        }
        let unlink = Action::DeleteUserIdentity;
        let context = || at_provider_of(caller.tenant(), Some(identity));
        let may_unlink = caller.could(unlink, Target::User(other), context).await;
        if may_unlink.unwrap_or(false) {
            let unlink_first = WayOut {
                way: "unlink_first".into(),
                description: "Unlink the account from the other user, then send this request again.".into(),
                method: Some("DELETE".into()),
                path: Some(format!("/v1/users/{other}/identities/{}", identity.id)),
            };
            ways_out.insert(0, unlink_first);
        }
        error.with(&LINKED_TO_USER_ID, other).with(&WAYS_OUT, ways_out)
    }
}
