INSERT INTO decisions (tenant_id, id, actor_id, actor_type, scopes, action, resource, kind, priority, rule_ids, policy_ids,
    notices, policy_version, context, request_id, created_at) VALUES
    (@1, @802, '00000000-0000-7000-8000-000000000401', 'api_key', '[]', 'getUser', 'user:00000000-0000-7000-8000-000000000101', 'not_permitted', NULL, '[]', '[]', '[]', 5, NULL,
        'request-802', 1700000000000000)
ON CONFLICT (tenant_id, id) DO UPDATE SET request_id = excluded.request_id;
