UPDATE tenants SET policies_version = 3 WHERE id = @1;
