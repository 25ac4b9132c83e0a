INSERT INTO identity_providers (tenant_id, id, name, provider_type, config, enabled, sync_status, created_at, updated_at,
    name_key) VALUES
    (@1, @213, 'PagerDuty', 'pagerduty', '{}', TRUE, 'pending', 1700000000000000, 1700000000000000, 'pagerduty')
ON CONFLICT DO NOTHING;
