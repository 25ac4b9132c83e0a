// The main job through the client that openapi-typescript and openapi-fetch make of the served document. What this file
// relies on is checked twice: by the compiler (`strict`) and at the server.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [address, tenant, key] = process.argv.slice(2);
assert(address && tenant && key, "usage: main.js ADDRESS TENANT KEY");
const header = { "X-Tenant-ID": tenant };
const as = (apiKey: string) => createClient<paths>({ baseUrl: address, headers: { "X-API-Key": apiKey } });
const aka = as(key);
const unique = Date.now().toString(36);

async function newUser(name: string): Promise<components["schemas"]["User"]> {
  const body = { email: `${name}-${unique}@example.com`, name };
  const { data, response } = await aka.POST("/v1/users", { params: { header }, body });
  assert.equal(response.status, 201);
  assert(data);
  return data;
}

const [ada, grace] = [await newUser("ada"), await newUser("grace")];
const provider = await aka.POST("/v1/identity-providers", {
  params: { header },
  body: { name: `GitHub ${unique}`, provider_type: "github" },
});
assert.equal(provider.response.status, 201);
assert(provider.data);

const account = { identity_provider_id: provider.data.id, external_id: "583231", external_username: "octocat" };
const link = (client: typeof aka, user: string) =>
  client.POST("/v1/users/{id}/identities", { params: { header, path: { id: user } }, body: account });

const linked = await link(aka, ada.id);
assert.equal(linked.response.status, 201);
assert(linked.data);
const identity: components["schemas"]["UserIdentity"] = linked.data;
assert.equal(identity.external_username satisfies string | null, "octocat");
assert.equal(identity.external_email, null);
assert.equal((await link(aka, ada.id)).response.status, 200, "again is no change");

const conflict = await link(aka, grace.id);
assert.equal(conflict.response.status, 409);
assert.equal(conflict.error?.code, "identity_already_linked");
assert.equal(conflict.error?.details?.["linked_to_user_id"], ada.id);

const reader = await aka.POST("/v1/api-keys", {
  params: { header },
  body: { name: `reader ${unique}`, scopes: ["users:read"] },
});
assert(reader.data);
const refused = await link(as(reader.data.raw_key), grace.id);
assert.equal(refused.response.status, 403);
assert.equal(refused.error?.code, "forbidden");
assert(Array.isArray(refused.error?.notices ?? []));

const list = await aka.GET("/v1/users/{id}/identities", { params: { header, path: { id: ada.id } } });
assert.deepEqual(list.data?.data, [identity]);

const unlinked = await aka.DELETE("/v1/users/{id}/identities/{identityId}", {
  params: { header, path: { id: ada.id, identityId: identity.id } },
});
assert.equal(unlinked.response.status, 204);
console.log("TypeScript: user, provider, link, list, unlink; 409 and 403 read by their types");
