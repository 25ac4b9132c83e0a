//! Users: the people of a tenant.

use aka_entity::user;
use cedar_policy::RestrictedExpression;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{CreateUser, SuspendUser, UpdateUser, UserRefusal, erasure, errors::user_already_exists};
use crate::{
    access::{
        self,
        caller::{PolicyContext, Target},
    },
    http::{
        Tag,
        answers::{CreatedTagged, Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        door::WriteError,
        error::{Error, InputLocation},
        etag::etag,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    policy::entities,
    resources::users,
    types::{
        actions::Action,
        clock::Timestamp,
        ids::UserId,
        text::{Email, Name, RoleName},
    },
};

/// Roles of a user at most.
const MAX_ROLES: usize = 64;

/// A person that accounts can be linked to.
#[derive(Debug, Object, Serialize)]
pub struct User {
    /// The id of the user.
    pub id: UserId,
    /// Their email address, unique in the tenant (ignoring case).
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Whether they are active: not suspended.
    pub active: bool,
    /// Whether the email address is verified.
    pub email_verified: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
}

impl User {
    /// A user with their state.
    fn tagged(user: user::Model) -> Tagged<Self> {
        let etag = etag(&users::revision(&user));
        Tagged::Done(Answer(user.into()), etag)
    }
}

impl From<user::Model> for User {
    fn from(user: user::Model) -> Self {
        Self {
            id: UserId(user.id),
            email: user.email,
            name: user.name,
            roles: serde_json::from_value(user.roles).unwrap_or_default(),
            active: user.active,
            email_verified: user.email_verified,
            created_at: Timestamp(user.created_at),
            updated_at: Timestamp(user.updated_at),
        }
    }
}

/// A new user.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Their email address.
    pub email: Email,
    /// Their name.
    pub name: Name,
    /// Their roles. Default: none.
    #[oai(nullable, validator(max_items = 64))]
    pub roles: Option<Vec<RoleName>>,
}

/// The fields of a user to change; absent fields stay as they are.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    /// Their email address.
    #[oai(nullable)]
    pub email: Option<Email>,
    /// Whether the address is known to be theirs. If it is absent, a new address counts as not verified.
    #[oai(nullable)]
    pub email_verified: Option<bool>,
    /// Their name.
    #[oai(nullable)]
    pub name: Option<Name>,
    /// Their roles, all of them.
    #[oai(nullable, validator(max_items = 64))]
    pub roles: Option<Vec<RoleName>>,
}

/// Whether the user is active.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// `false` suspends the user, `true` makes them active again.
    pub active: bool,
}

fn check_roles(roles: Option<&Vec<RoleName>>) -> Result<(), Error> {
    if roles.is_some_and(|roles| roles.len() > MAX_ROLES) {
        return Err(Error::field(
            InputLocation::Body,
            "roles",
            format!("must not have more than {MAX_ROLES} entries"),
        ));
    }
    Ok(())
}

fn role_texts(roles: &[RoleName]) -> RestrictedExpression {
    entities::texts(roles.iter().map(RoleName::as_str))
}

/// That another user has an address, and who: the user is named to callers who may read them.
async fn already_exists(caller: &ApiCaller<'_>, email: &Email) -> Error {
    let user = users::find_by_email(caller.store(), caller.tenant_id(), email).await;
    let id = match user {
        Ok(Some(user)) => {
            let id = UserId(user.id);
            let may_read = caller
                .could(Action::GetUser, Target::User(id), PolicyContext::default)
                .await;
            may_read.unwrap_or(false).then_some(id)
        }
        // The user has gone since, or the database has: the refusal stands without an id.
        Ok(None) | Err(_) => None,
    };
    user_already_exists(id)
}

/// The operations on users.
pub struct UsersApi;

#[OpenApi(tag = "Tag::Users")]
impl UsersApi {
    /// List users
    ///
    /// The oldest first.
    #[oai(path = "/v1/users", method = "get", operation_id = "listUsers")]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// Only the user with this email address (ignoring case).
        email: OptionalQueryParam<Email>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<User>>, Error> {
        let tenant = caller.tenant_id();
        let filter = email.0.as_ref().map(Email::key).unwrap_or_default();
        let list = List::new("users", tenant, &filter);
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let rows = users::list(caller.store(), tenant, email.0.as_ref(), wanted.after, wanted.to_read()).await?;
        Ok(Answer(list.page(&wanted, rows, |user| user.id, User::from)))
    }

    /// Create a user
    #[oai(path = "/v1/users", method = "post", operation_id = "createUser")]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        body: Body<UserCreate>,
    ) -> Result<Replayable<CreatedTagged<User>>, Error> {
        let Body(UserCreate { email, name, roles }) = body;
        check_roles(roles.as_ref())?;
        let roles = roles.unwrap_or_default();
        let context = || {
            PolicyContext::of([
                ("email", RestrictedExpression::new_string(email.to_string())),
                ("roles", role_texts(&roles)),
            ])
        };
        let permit = caller.may_with(Target::Tenant, context).await?;
        let id = UserId::new();
        let change = CreateUser {
            permit,
            id,
            email: email.clone(),
            name,
            roles,
        };
        let answer = move |user: user::Model| {
            let etag = etag(&users::revision(&user));
            Ok(CreatedTagged::Created(
                Answer(user.into()),
                format!("/v1/users/{id}"),
                etag,
            ))
        };
        match caller.write(change, answer).await {
            Err(WriteError::Refused(UserRefusal::EmailTaken)) => Err(already_exists(&caller, &email).await),
            outcome => Ok(outcome?),
        }
    }

    /// Get a user
    #[oai(path = "/v1/users/:id", method = "get", operation_id = "getUser")]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Tagged<User>, Error> {
        caller.may(Target::User(id.0)).await?;
        let user = access::users::find(caller.store(), caller.tenant_id(), id.0).await?;
        Ok(User::tagged(user.ok_or_else(|| Error::no_such("user", id.0))?))
    }

    /// Change a user
    ///
    /// Absent fields stay as they are. A changed email address counts as not verified, unless `email_verified` says
    /// otherwise.
    #[oai(path = "/v1/users/:id", method = "put", operation_id = "updateUser")]
    async fn update(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
        body: Body<UserUpdate>,
    ) -> Result<Tagged<User>, Error> {
        let Body(UserUpdate {
            email,
            email_verified,
            name,
            roles,
        }) = body;
        check_roles(roles.as_ref())?;
        let context = || {
            let address = |email: &Email| RestrictedExpression::new_string(email.to_string());
            let members = [
                ("roles", roles.as_deref().map(role_texts)),
                ("email", email.as_ref().map(address)),
                ("email_verified", email_verified.map(RestrictedExpression::new_bool)),
            ];
            PolicyContext::of(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
        };
        let permit = caller.may_with(Target::User(id.0), context).await?;
        let change = UpdateUser {
            permit,
            id: id.0,
            email: email.clone(),
            email_verified,
            name,
            roles,
        };
        match (caller.change(change).await, email) {
            (Err(UserRefusal::EmailTaken), Some(email)) => Err(already_exists(&caller, &email).await),
            (outcome, _) => Ok(User::tagged(outcome?)),
        }
    }

    /// Suspend a user, or make them active again
    ///
    /// No account can be linked to a suspended user, and no token for them is accepted; the accounts that are linked
    /// stay linked.
    #[oai(path = "/v1/users/:id/suspend", method = "post", operation_id = "suspendUser")]
    async fn suspend(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
        body: Body<Suspension>,
    ) -> Result<Replayable<Tagged<User>>, Error> {
        let Body(Suspension { active }) = body;
        let context = || PolicyContext::of([("active", RestrictedExpression::new_bool(active))]);
        let permit = caller.may_with(Target::User(id.0), context).await?;
        let change = SuspendUser {
            permit,
            id: id.0,
            active,
        };
        Ok(caller.write(change, |user| Ok(User::tagged(user))).await?)
    }

    /// Erase a user
    ///
    /// For good, with all of their identities, accounts that were linked to them before, answers that are kept under an
    /// `Idempotency-Key`, and refused requests that name them. The audit log keeps ids only.
    #[oai(path = "/v1/users/:id", method = "delete", operation_id = "deleteUser")]
    async fn delete(
        &self,
        caller: ApiCaller<'_>,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Gone, Error> {
        let permit = caller.may(Target::User(id.0)).await?;
        erasure::erase(&caller, permit, id.0).await?;
        Ok(Gone::Done)
    }
}
