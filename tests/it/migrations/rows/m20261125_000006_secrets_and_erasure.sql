-- The check value and the secrets are those of the tests' root key.
INSERT INTO root_key_check (id, check_value) VALUES
    (1, x'77a8c29b3792764dbdb631c38a3307f99141e65c19decb1597bc56a03f8ad117')
ON CONFLICT DO NOTHING;
INSERT INTO identity_providers (tenant_id, id, name, provider_type, config, enabled, sync_status, created_at, updated_at,
    secrets) VALUES
    (@1, @212, 'Sealed', 'github', '{"organization": "acme"}', TRUE, 'pending', 1700000000000000, 1700000000000000,
        x'0180895df5a63ebaf0ee09b322771c9d8e5d400112db750a4f7eb5b31d0242ee6f6541824fbc1a9462bd395fff1af6b0fb89000102030405060708090a0b')
ON CONFLICT (tenant_id, id) DO UPDATE SET secrets = excluded.secrets;
INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, user_id, created_at) VALUES
    (@1, '00000000-0000-7000-8000-000000000401', x'0c', x'0d', @101, 1700000000000000)
ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET user_id = excluded.user_id;
INSERT INTO former_links (tenant_id, user_id, identity_id) VALUES
    (@1, @101, @302)
ON CONFLICT DO NOTHING;
