// The main job through the client that openapi-generator makes of the served document.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"time"

	aka "github.com/aka/aka-client"
)

func check(holds bool, what string, found ...any) {
	if !holds {
		fmt.Fprintln(os.Stderr, append([]any{"does not hold:", what}, found...)...)
		os.Exit(1)
	}
}

func must[T any](value T, response *http.Response, err error) T {
	check(err == nil, "the request succeeds", err, response)
	return value
}

// refusal is the typed body of an error.
func refusal(err error) aka.ApiError {
	failed, ok := err.(*aka.GenericOpenAPIError)
	check(ok, "an error has a body", err)
	body, ok := failed.Model().(aka.ApiError)
	check(ok, "the body has its type", string(failed.Body()))
	return body
}

func main() {
	check(len(os.Args) == 4, "usage: main ADDRESS TENANT KEY")
	address, tenant, key := os.Args[1], os.Args[2], os.Args[3]
	configuration := aka.NewConfiguration()
	configuration.Servers = aka.ServerConfigurations{{URL: address}}
	client := aka.NewAPIClient(configuration)
	as := func(key string) context.Context {
		keys := map[string]aka.APIKey{"apiKey": {Key: key}}
		return context.WithValue(context.Background(), aka.ContextAPIKeys, keys)
	}
	caller := as(key)
	unique := fmt.Sprintf("%x", time.Now().UnixNano())

	page := must(client.UsersAPI.ListUsers(caller).XTenantID(tenant).Limit(1).Execute())
	check(len(page.Data) == 1, "a page has as many users as were asked for")
	newUser := func(name string) string {
		body := aka.NewUserCreate(name+"-"+unique+"@example.com", name)
		return must(client.UsersAPI.CreateUser(caller).XTenantID(tenant).UserCreate(*body).Execute()).Id
	}
	ada, grace := newUser("ada"), newUser("grace")
	newProvider := aka.NewIdentityProviderCreate("GitHub "+unique, aka.GITHUB)
	provider := must(client.IdentityProvidersAPI.CreateIdentityProvider(caller).XTenantID(tenant).
		IdentityProviderCreate(*newProvider).Execute())

	account := aka.NewUserIdentityCreate(provider.Id, "583231")
	account.SetExternalUsername("octocat")
	link := func(by context.Context, user string) (*aka.UserIdentity, *http.Response, error) {
		return client.IdentitiesAPI.CreateUserIdentity(by, user).XTenantID(tenant).UserIdentityCreate(*account).Execute()
	}
	identity, response, err := link(caller, ada)
	check(err == nil && response.StatusCode == http.StatusCreated, "the account is linked", err)
	check(identity.GetExternalUsername() == "octocat", "the name is what was sent", identity)
	_, response, err = link(caller, ada)
	check(err == nil && response.StatusCode == http.StatusOK, "linking again is no change", err)

	_, response, err = link(caller, grace)
	check(response != nil && response.StatusCode == http.StatusConflict, "the account is taken", err)
	conflict := refusal(err)
	check(conflict.Code == aka.IDENTITY_ALREADY_LINKED, "the code is typed", conflict.Code)
	check(conflict.Details.GetLinkedToUserId() == ada, "the details are typed", conflict.Details)
	check(conflict.Details.WaysOut[0].Way == "unlink_first", "the ways out are typed", conflict.Details)

	newKey := aka.NewApiKeyCreate("reader "+unique, []aka.Scope{aka.USERS_READ})
	reader := must(client.ApiKeysAPI.CreateApiKey(caller).XTenantID(tenant).ApiKeyCreate(*newKey).Execute())
	_, response, err = link(as(reader.RawKey), grace)
	check(response != nil && response.StatusCode == http.StatusForbidden, "the reader may not link", err)
	check(refusal(err).Code == aka.FORBIDDEN, "the code is typed", err)

	list := must(client.IdentitiesAPI.ListUserIdentities(caller, ada).XTenantID(tenant).Execute())
	check(len(list.Data) == 1 && reflect.DeepEqual(list.Data[0], *identity), "the list has the identity", list)
	response, err = client.IdentitiesAPI.DeleteUserIdentity(caller, ada, identity.Id).XTenantID(tenant).Execute()
	check(err == nil && response.StatusCode == http.StatusNoContent, "the account is unlinked", err)
	fmt.Println("Go: users, provider, link, list, unlink; 409 and 403 read by their types")
}
