-- A provider that is being deleted, with an account and a key.
INSERT INTO identity_providers (tenant_id, id, name, provider_type, config, enabled, sync_status, created_at, updated_at,
    deleted_at) VALUES
    (@1, @211, 'Deleted', 'github', '{}', TRUE, 'pending', 1700000000000000, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;
INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id, linked_by, created_at, updated_at) VALUES
    (@1, @304, NULL, @211, 'hubot', 'auto', 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;
INSERT INTO api_keys (tenant_id, id, name, hash, scopes, identity_provider_id, created_by, created_at) VALUES
    (@1, @403, 'directory', x'03', '[]', @211, '00000000-0000-7000-8000-000000000401', 1700000000000000)
ON CONFLICT DO NOTHING;
