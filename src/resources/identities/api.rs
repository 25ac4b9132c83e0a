//! Identities: linking accounts to users, and finding them.

use std::sync::Arc;

use aka_entity::identity::{self};
use cedar_policy::RestrictedExpression;
use poem_openapi::{ApiResponse, OpenApi};

use super::{
    Account, Link, LinkRefusal, Linked, Unlink,
    errors::{LINKED_TO_USER_ID, WAYS_OUT, WayOut, account_not_found, identity_already_linked},
    rows::{self, OfUser},
    update::{IdentityRefusal, Profile, UpdateIdentity},
    wire::{
        IdentityUpdate, UserIdentity, UserIdentityCreate, at_provider, at_provider_of, description, lookup_of,
        provider_of, target_of,
    },
};
use crate::{
    access::{
        self,
        accounts::{Found, Lookup},
        caller::{PolicyContext, Target},
    },
    http::{
        Tag,
        answers::{Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        door::WriteError,
        error::Error,
        idempotency::Replayable,
        page::{List, MAX_LIMIT, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path, QueryParam},
    },
    types::{
        actions::Action,
        ids::{IdentityId, IdentityProviderId, UserId},
        text::ExternalId,
    },
};

/// How often an identity is read again that is linked or unlinked between the decision and the change.
const ATTEMPTS: usize = 3;

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
