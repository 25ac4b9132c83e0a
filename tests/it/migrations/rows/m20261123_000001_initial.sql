-- A master tenant and another one.
INSERT INTO tenants (id, name, slug, is_master, version, created_at, updated_at) VALUES
    (@1, 'Acme', 'acme', TRUE, 5, 1700000000000000, 1700000000000000),
    (@2, 'Bolt', 'bolt', FALSE, 1, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

-- 101 and 102 have one address in two forms, and 104 has it in another tenant.
INSERT INTO users (tenant_id, id, email, email_key, name, roles, active, email_verified, created_at, updated_at) VALUES
    (@1, @101, 'Anna@exämple.example', 'anna@exämple.example', 'Anna', '["admin"]', TRUE, TRUE, 1700000000000000, 1700000000000000),
    (@1, @102, 'anna@xn--exmple-cua.example', 'anna@xn--exmple-cua.example', 'Anne', '[]', TRUE, FALSE, 1700000000000000, 1700000000000000),
    (@1, @103, 'Jörg@bücher.example', 'jörg@bücher.example', 'Jörg', '[]', FALSE, TRUE, 1700000000000000, 1700000000000000),
    (@2, @104, 'anna@exämple.example', 'anna@exämple.example', 'Anna', '[]', TRUE, TRUE, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

-- Names that differ only in case, one issuer of two providers and of two tenants, an issuer whose name is too long to be
-- indexed, and secrets that are not sealed.
INSERT INTO identity_providers (tenant_id, id, name, provider_type, config, enabled, last_synced_at, sync_status,
    sync_error, created_at, updated_at) VALUES
    (@1, @201, 'GitHub', 'oidc', '{"issuer": "https://one.example", "audience": "aka", "jwks_uri": "https://one.example/jwks",
        "client_secret": "unsealed-secret"}', TRUE, 1700000000000000, 'failed', 'no answer', 1700000000000000, 1700000000000000),
    (@1, @202, 'github', 'oidc', '{"issuer": "https://one.example", "audience": "aka"}', FALSE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000),
    (@1, @203, 'GITHUB', 'github', '{"organization": "acme", "token": "unsealed-token"}', TRUE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000),
    (@1, @204, 'GitHub (2)', 'oidc', '{"issuer": "https://iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii.example"}', FALSE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000),
    (@2, @205, 'github', 'oidc', '{"issuer": "https://one.example", "audience": "aka"}', TRUE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000),
    (@1, @206, 'éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé', 'slack', '{}', TRUE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000),
    (@1, @207, 'ÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉÉ', 'slack', '{}', TRUE, NULL, 'pending', NULL, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

-- 302 is linked to nobody any more.
INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id, external_username, external_email,
    external_display_name, linked_by, linked_at, last_synced_at, created_at, updated_at) VALUES
    (@1, @301, @101, @201, 'octocat', 'octocat', 'octo@exämple.example', 'The Octocat', 'manual', 1700000000000000, 1700000000000000, 1700000000000000, 1700000000000000),
    (@1, @302, NULL, @203, 'monalisa', NULL, NULL, NULL, 'auto', NULL, NULL, 1700000000000000, 1700000000000000),
    (@2, @303, @104, @205, 'octocat', NULL, NULL, NULL, 'scim', 1700000000000000, NULL, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

INSERT INTO api_keys (tenant_id, id, name, hash, scopes, identity_provider_id, created_by, last_used_at, expires_at,
    revoked_at, revoked_by, rotated_at, created_at) VALUES
    (@1, @401, 'first', x'40104722676084d4dc351a260dd4efafe943a332c8ffd63a64729c80a53986e1',
        '["identities:read", "users:read", "identity-providers:read", "api-keys:read", "policies:read", "tenants:read"]',
        NULL, 'command line', NULL, NULL, NULL, NULL, NULL, 1700000000000000),
    (@1, @402, 'revoked', x'02', '["users:read"]', @203, '00000000-0000-7000-8000-000000000401', 1700000000000000, 1700000000000000, 1700000000000000, 'command line', 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

INSERT INTO policies (tenant_id, id, name, description, enabled, priority, created_at, updated_at) VALUES
    (@1, @501, 'Guardrails', 'What nobody may do.', TRUE, 100, 1700000000000000, 1700000000000000)
ON CONFLICT DO NOTHING;

INSERT INTO policy_rules (tenant_id, id, policy_id, ordinal, policy_text, checked, notice, created_at) VALUES
    (@1, @601, @501, 0, 'forbid (principal, action == Action::"deleteUser", resource);', x'01', 'Ask the help desk.', 1700000000000000),
    (@1, @602, @501, 1, '@notice("Grüße") forbid (principal, action == Action::"suspendUser", resource);', x'02', NULL, 1700000000000000)
ON CONFLICT DO NOTHING;

-- An account that was unlinked twice, one that is gone, one of a user who is gone, and one that was linked.
INSERT INTO audit_log_entries (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata,
    reasoning, decision, created_at) VALUES
    (@1, @701, '00000000-0000-7000-8000-000000000401', 'api_key', 'deleteUserIdentity', 'identity', @302,
        '{"user_id": "00000000-0000-7000-8000-000000000103"}', 'scopes', '{"kind": "permitted"}', 1700000000000000),
    (@1, @702, '00000000-0000-7000-8000-000000000401', 'api_key', 'deleteUserIdentity', 'identity', @302,
        '{"user_id": "00000000-0000-7000-8000-000000000103"}', NULL, NULL, 1700000000000000),
    (@1, @703, '00000000-0000-7000-8000-000000000401', 'api_key', 'deleteUserIdentity', 'identity', @399,
        '{"user_id": "00000000-0000-7000-8000-000000000103"}', NULL, NULL, 1700000000000000),
    (@1, @704, '00000000-0000-7000-8000-000000000401', 'api_key', 'deleteUserIdentity', 'identity', @302,
        '{"user_id": "00000000-0000-7000-8000-000000000199"}', NULL, NULL, 1700000000000000),
    (@1, @705, '00000000-0000-7000-8000-000000000401', 'api_key', 'createUserIdentity', 'identity', @301,
        '{"user_id": "00000000-0000-7000-8000-000000000101"}', NULL, NULL, 1700000000000000)
ON CONFLICT DO NOTHING;

INSERT INTO decisions (tenant_id, id, actor_id, actor_type, scopes, action, resource, kind, priority, rule_ids, policy_ids,
    notices, policy_version, context, created_at) VALUES
    (@1, @801, '00000000-0000-7000-8000-000000000401', 'api_key', '["users:read"]', 'deleteUser', 'user:00000000-0000-7000-8000-000000000101', 'forbidden', 100, '["00000000-0000-7000-8000-000000000601"]', '["00000000-0000-7000-8000-000000000501"]',
        '["Ask the help desk."]', 5, '{}', 1700000000000000)
ON CONFLICT DO NOTHING;

-- The account is named in the event of an identity, and the same field of another event is something else.
INSERT INTO outbox_events (tenant_id, id, event_type, resource_type, resource_id, payload, created_at) VALUES
    (@1, @901, 'identity.linked', 'identity', @301,
        '{"identity_id": "00000000-0000-7000-8000-000000000301", "external_id": "octocat"}', 1700000000000000),
    (@1, @902, 'user.created', 'user', @101, '{"external_id": "kept"}', 1700000000000000)
ON CONFLICT DO NOTHING;

INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, created_at) VALUES
    (@1, '00000000-0000-7000-8000-000000000401', x'0a', x'0b', 1700000000000000)
ON CONFLICT DO NOTHING;
