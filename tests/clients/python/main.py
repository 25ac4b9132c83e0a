"""The main job through the client that openapi-python-client makes of the served document."""

import sys
import time
from http import HTTPStatus
from uuid import UUID

from aka_client import AuthenticatedClient
from aka_client.api.api_keys import create_api_key
from aka_client.api.identities import create_user_identity, delete_user_identity, list_user_identities
from aka_client.api.identity_providers import create_identity_provider
from aka_client.api.users import create_user
from aka_client.models import (
    ApiError,
    CreatedApiKey,
    IdentityProvider,
    ApiKeyCreate,
    IdentityProviderCreate,
    UserCreate,
    UserIdentityCreate,
    PageUserIdentity,
    ProviderType,
    Scope,
    User,
    UserIdentity,
)


def main(address: str, tenant: str, key: str) -> None:
    def client(api_key: str) -> AuthenticatedClient:
        return AuthenticatedClient(base_url=address, token=api_key, prefix="", auth_header_name="X-API-Key")

    aka = client(key)
    unique = f"{time.time_ns():x}"

    def new_user(name: str) -> User:
        user = create_user.sync(
            client=aka, x_tenant_id=tenant, body=UserCreate(email=f"{name}-{unique}@example.com", name=name)
        )
        assert isinstance(user, User), user
        return user

    ada, grace = new_user("ada"), new_user("grace")
    provider = create_identity_provider.sync(
        client=aka,
        x_tenant_id=tenant,
        body=IdentityProviderCreate(name=f"GitHub {unique}", provider_type=ProviderType.GITHUB),
    )
    assert isinstance(provider, IdentityProvider), provider
    account = UserIdentityCreate(
        identity_provider_id=provider.id, external_id="583231", external_username="octocat"
    )

    def link(by: AuthenticatedClient, user: UUID):
        return create_user_identity.sync_detailed(user, client=by, x_tenant_id=tenant, body=account)

    linked = link(aka, ada.id)
    assert linked.status_code == HTTPStatus.CREATED, linked
    identity = linked.parsed
    assert isinstance(identity, UserIdentity)
    assert identity.external_username == "octocat" and identity.external_email is None
    assert identity.created_at.tzinfo is not None
    assert link(aka, ada.id).status_code == HTTPStatus.OK, "again is no change"

    conflict = link(aka, grace.id)
    assert conflict.status_code == HTTPStatus.CONFLICT, conflict
    assert isinstance(conflict.parsed, ApiError)
    assert conflict.parsed.code == "identity_already_linked"
    assert conflict.parsed.details.linked_to_user_id == ada.id
    assert conflict.parsed.details.ways_out[0].way == "unlink_first"

    reader = create_api_key.sync(
        client=aka, x_tenant_id=tenant, body=ApiKeyCreate(name=f"reader {unique}", scopes=[Scope.USERSREAD])
    )
    assert isinstance(reader, CreatedApiKey), reader
    refused = link(client(reader.raw_key), grace.id)
    assert refused.status_code == HTTPStatus.FORBIDDEN, refused
    assert isinstance(refused.parsed, ApiError) and refused.parsed.code == "forbidden"

    page = list_user_identities.sync(ada.id, client=aka, x_tenant_id=tenant)
    assert isinstance(page, PageUserIdentity) and page.data == [identity], page

    unlinked = delete_user_identity.sync_detailed(ada.id, identity.id, client=aka, x_tenant_id=tenant)
    assert unlinked.status_code == HTTPStatus.NO_CONTENT, unlinked
    print("Python: user, provider, link, list, unlink; 409 and 403 read by their types")


if __name__ == "__main__":
    main(*sys.argv[1:])
