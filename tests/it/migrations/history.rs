//! The history of the tables as the tests know it: each step's file, what it does to the rows that it finds, and rows
//! as the program of that step wrote them.

use super::contents::{Contents, id, text};
use crate::harness::{Value, json};

/// One step of the history.
pub struct Step {
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// SHA-256 of its file.
    pub digest: &'static str,
    /// What it must do to the rows that are there: to the columns that it adds, and to those that it changes.
    pub does: fn(&mut Contents),
    /// Rows written once it is applied: in the tables and columns that it makes, and such as later steps find hard. `@7`
    /// is the id that ends in 7, and `x'00'` are bytes. Run twice, the statements do what they do once.
    pub rows: &'static str,
    /// What undoing it must do to the rows, besides removing the tables and columns that it made.
    pub undoes: fn(&mut Contents),
}

/// The key of the tenant `@1`, whose hash is in the rows of the first step.
pub const KEY: &str = "aka_1111117ffqVSANUTQLZNp52Cdg1JhLfT7zW2hHHVBVZV89PRhNgxoqdr24B7XP8NeToLNjTwDHYaUYSJUUahZfvhJLT";
/// The root key that the check value and the sealed secrets in the rows were made with.
pub const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The length of the longest name of a provider, in characters.
const MAX_NAME: usize = 256;

/// Every step, in order. A step that is in this list is never edited: its digest stays.
pub const HISTORY: &[Step] = &[
    Step {
        name: "m20261123_000001_initial",
        digest: "6905bbbe45ad8a986211316ba6649d4e8559eada769df5726e6ee09481ef8ec8",
        does: |rows| {
            for (table, columns) in [
                ("tenants", "id name slug is_master version created_at updated_at"),
                (
                    "users",
                    "tenant_id id email email_key name roles active email_verified created_at updated_at",
                ),
                (
                    "identity_providers",
                    "tenant_id id name provider_type config enabled last_synced_at sync_status sync_error created_at \
                     updated_at",
                ),
                (
                    "identities",
                    "tenant_id id user_id identity_provider_id external_id external_username external_email \
                     external_display_name linked_by linked_at last_synced_at created_at updated_at",
                ),
                (
                    "api_keys",
                    "tenant_id id name hash scopes identity_provider_id created_by last_used_at expires_at revoked_at \
                     revoked_by rotated_at created_at",
                ),
                (
                    "policies",
                    "tenant_id id name description enabled priority created_at updated_at",
                ),
                (
                    "policy_rules",
                    "tenant_id id policy_id ordinal policy_text checked notice created_at",
                ),
                (
                    "audit_log_entries",
                    "tenant_id id actor_id actor_type action resource_type resource_id metadata reasoning decision \
                     created_at",
                ),
                (
                    "decisions",
                    "tenant_id id actor_id actor_type scopes action resource kind priority rule_ids policy_ids notices \
                     policy_version context created_at",
                ),
                (
                    "outbox_events",
                    "tenant_id id event_type resource_type resource_id payload created_at",
                ),
                ("idempotency_keys", "tenant_id actor_id key_hash answer created_at"),
            ] {
                rows.add_table(table, columns);
            }
        },
        rows: include_str!("rows/m20261123_000001_initial.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000001_weights_of_rules",
        digest: "f80cfc02d9e2441939a6f7b8ccb2d4c310723b65d290568c7e888e2b88d93476",
        does: |rows| {
            rows.add_column("policy_rules", "outline", |_| text(""));
            // Bytes, not characters: one rule has letters beyond ASCII.
            rows.add_column("policy_rules", "bytes", |rule| {
                text(&rule["policy_text"].as_str().expect("a text").len().to_string())
            });
            rows.add_column("policy_rules", "nodes", |_| text("0"));
            rows.add_column("policy_rules", "cost", |_| text("0"));
        },
        rows: include_str!("rows/m20261125_000001_weights_of_rules.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000002_policies_version",
        digest: "c2a35fcbf34434cc5a3a30bdf1465a9d7404ff53048d81a67b86608a5665affc",
        does: |rows| rows.add_column("tenants", "policies_version", |_| text("0")),
        rows: include_str!("rows/m20261125_000002_policies_version.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000003_token_issuers",
        digest: "5772c7504e491997855f5d2ed92b02e41c8d0140588996c7ce200213bfed534e",
        does: |rows| {
            rows.add_column("identity_providers", "token_issuer", |provider| {
                // The second provider of one issuer and one with a name too long for an index have no issuer from now on.
                if provider["id"] == id(202) || provider["id"] == id(204) {
                    return Value::Null;
                }
                provider["config"]["issuer"].clone()
            });
        },
        rows: include_str!("rows/m20261125_000003_token_issuers.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000004_deleting_providers",
        digest: "8d6dd3ab7d2e9bb22f66241f0692b934754fd209657152847dd54451dd14161d",
        does: |rows| rows.add_column("identity_providers", "deleted_at", |_| Value::Null),
        rows: include_str!("rows/m20261125_000004_deleting_providers.sql"),
        // Without the column the provider would be back, with its accounts and its keys.
        undoes: |rows| {
            rows.delete("identity_providers", "id", 211);
            rows.delete("identities", "identity_provider_id", 211);
            rows.delete("api_keys", "identity_provider_id", 211);
        },
    },
    Step {
        name: "m20261125_000005_decisions_by_request",
        digest: "83e647487fc94a4e5d9ebed67217de474062589759865b9f2a09df88c964eb1e",
        does: |rows| rows.add_column("decisions", "request_id", |_| Value::Null),
        rows: include_str!("rows/m20261125_000005_decisions_by_request.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000006_secrets_and_erasure",
        digest: "980530a3f2f4b4a79fed64ef32537f0a573c7fabbfc11183cfb75230613da3db",
        does: |rows| {
            rows.add_table("root_key_check", "id check_value");
            rows.add_table("former_links", "tenant_id user_id identity_id");
            // The audit log names one account that was unlinked and is still there, twice.
            rows.insert(
                "former_links",
                json!({ "tenant_id": id(1), "user_id": id(103), "identity_id": id(302) }),
            );
            rows.add_column("identity_providers", "secrets", |_| Value::Null);
            rows.add_column("idempotency_keys", "user_id", |_| Value::Null);
            rows.change("outbox_events", |event| {
                if event["resource_type"] == "identity" {
                    event["payload"]
                        .as_object_mut()
                        .expect("an object")
                        .remove("external_id");
                }
            });
            rows.change("users", |user| {
                // User 101 keeps the address as it is: 102 has the same one in its ASCII form.
                let rewritten = [
                    (103, "jörg@xn--bcher-kva.example"),
                    (104, "anna@xn--exmple-cua.example"),
                ];
                for (of, key) in rewritten {
                    if user["id"] == id(of) {
                        user["email_key"] = text(key);
                    }
                }
            });
        },
        rows: include_str!("rows/m20261125_000006_secrets_and_erasure.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000007_provider_names",
        digest: "ea2bdfc2ce8e061c1180568f399f2da48c85cc116cb793eaca77cf7679dbb9aa",
        does: |rows| {
            let shortened = "É".repeat(MAX_NAME - " (2)".len()) + " (2)";
            // The oldest keeps its name. "GitHub (2)" was taken already.
            let renamed = [(202, "github (3)"), (203, "GITHUB (4)"), (207, shortened.as_str())];
            rows.change("identity_providers", |provider| {
                for (of, name) in renamed {
                    if provider["id"] == id(of) {
                        provider["name"] = text(name);
                    }
                }
            });
            rows.add_column("identity_providers", "name_key", |provider| {
                text(&provider["name"].as_str().expect("a text").to_lowercase())
            });
        },
        rows: include_str!("rows/m20261125_000007_provider_names.sql"),
        undoes: |_| {},
    },
    Step {
        name: "m20261125_000013_barred_accounts",
        digest: "675e7ae205b5a49f62095470b6c91809d8d2bec1fc754a18fa155daee13db9ab",
        does: |rows| {
            rows.add_table(
                "barred_accounts",
                "tenant_id identity_provider_id account_hash reason created_at",
            );
        },
        rows: include_str!("rows/m20261125_000013_barred_accounts.sql"),
        undoes: |_| {},
    },
];
