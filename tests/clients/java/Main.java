// The main job through the client that openapi-generator makes of the served document.

import java.net.URI;
import java.util.List;
import java.util.UUID;

import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.ApiKeysApi;
import org.openapitools.client.api.IdentitiesApi;
import org.openapitools.client.api.IdentityProvidersApi;
import org.openapitools.client.api.UsersApi;
import org.openapitools.client.model.ApiError;
import org.openapitools.client.model.ApiKeyCreate;
import org.openapitools.client.model.ErrorCode;
import org.openapitools.client.model.IdentityProviderCreate;
import org.openapitools.client.model.ProviderType;
import org.openapitools.client.model.Scope;
import org.openapitools.client.model.UserCreate;
import org.openapitools.client.model.UserIdentityCreate;

public class Main {
    private static void check(boolean holds, String what, Object found) {
        if (!holds) {
            throw new AssertionError("does not hold: " + what + "; found " + found);
        }
    }

    private static ApiClient client(String address, String key) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(address);
        client.setRequestInterceptor(request -> request.header("X-API-Key", key));
        return client;
    }

    private interface Call {
        Object send() throws ApiException;
    }

    /** The typed body of a refusal with a status. */
    private static ApiError refused(ApiClient client, int status, Call call) throws Exception {
        try {
            throw new AssertionError("it was not refused, but answered with " + call.send());
        } catch (ApiException refusal) {
            check(refusal.getCode() == status, "the status is " + status, refusal);
            return client.getObjectMapper().readValue(refusal.getResponseBody(), ApiError.class);
        }
    }

    public static void main(String[] arguments) throws Exception {
        check(arguments.length == 3, "usage: Main ADDRESS TENANT KEY", arguments.length);
        String address = URI.create(arguments[0]).toString();
        UUID tenant = UUID.fromString(arguments[1]);
        ApiClient aka = client(address, arguments[2]);
        String unique = Long.toHexString(System.nanoTime());

        UsersApi users = new UsersApi(aka);
        IdentitiesApi identities = new IdentitiesApi(aka);
        UUID[] people = new UUID[2];
        for (int number = 0; number < 2; number++) {
            var person = new UserCreate().email("person" + number + "-" + unique + "@example.com").name("Person");
            people[number] = users.createUser(tenant, person, null).getId();
        }
        UUID ada = people[0];
        UUID grace = people[1];
        var newProvider = new IdentityProviderCreate().name("GitHub " + unique).providerType(ProviderType.GITHUB);
        UUID provider = new IdentityProvidersApi(aka).createIdentityProvider(tenant, newProvider, null).getId();

        var account = new UserIdentityCreate()
            .identityProviderId(provider)
            .externalId("583231")
            .externalUsername("octocat");
        var linked = identities.createUserIdentityWithHttpInfo(tenant, ada, account, null);
        check(linked.getStatusCode() == 201, "the account is linked", linked.getStatusCode());
        var identity = linked.getData();
        check("octocat".equals(identity.getExternalUsername()), "the name is what was sent", identity);
        var again = identities.createUserIdentityWithHttpInfo(tenant, ada, account, null);
        check(again.getStatusCode() == 200, "linking again is no change", again.getStatusCode());

        ApiError conflict =
            refused(aka, 409, () -> identities.createUserIdentity(tenant, grace, account, null));
        check(conflict.getCode() == ErrorCode.IDENTITY_ALREADY_LINKED, "the code is typed", conflict);
        check(ada.equals(conflict.getDetails().getLinkedToUserId()), "the details are typed", conflict);
        var wayOut = conflict.getDetails().getWaysOut().get(0);
        check("unlink_first".equals(wayOut.getWay()), "the ways out are typed", conflict);

        var newKey = new ApiKeyCreate().name("reader " + unique).scopes(List.of(Scope.USERS_READ));
        String readerKey = new ApiKeysApi(aka).createApiKey(tenant, newKey, null).getRawKey();
        var reader = new IdentitiesApi(client(address, readerKey));
        ApiError refusal = refused(aka, 403, () -> reader.createUserIdentity(tenant, grace, account, null));
        check(refusal.getCode() == ErrorCode.FORBIDDEN, "the code is typed", refusal);

        var list = identities.listUserIdentities(tenant, ada, null, null).getData();
        check(list.equals(List.of(identity)), "the list has the identity", list);
        identities.deleteUserIdentity(tenant, ada, identity.getId());
        System.out.println("Java: users, provider, link, list, unlink; 409 and 403 read by their types");
    }
}
