INSERT INTO policy_rules (tenant_id, id, policy_id, ordinal, policy_text, checked, notice, created_at, outline, bytes, nodes,
    cost) VALUES
    (@1, @603, @501, 2, 'forbid (principal, action == Action::"createUser", resource);', x'03', NULL, 1700000000000000, '{}', 63, 4, 7)
ON CONFLICT (tenant_id, id) DO UPDATE SET outline = excluded.outline, bytes = excluded.bytes, nodes = excluded.nodes, cost = excluded.cost;
