INSERT INTO barred_accounts (tenant_id, identity_provider_id, account_hash, reason, created_at) VALUES
    (@1, @203, x'0e', 'suspended', 1700000000000000)
ON CONFLICT DO NOTHING;
