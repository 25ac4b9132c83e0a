INSERT INTO identity_providers (tenant_id, id, name, provider_type, config, enabled, sync_status, created_at, updated_at,
    token_issuer) VALUES
    (@1, @208, 'Issuer', 'oidc', '{"issuer": "https://two.example", "audience": "aka"}', TRUE, 'pending', 1700000000000000, 1700000000000000,
        'https://two.example')
ON CONFLICT DO NOTHING;
