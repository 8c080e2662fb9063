-- Why: a policy's setting was read and cast for every row that a view puts together, of which a page of flows has thousands.
-- As a query of its own it is read once for each statement.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_policies WHERE schemaname = current_schema() AND policyname = 'tenant' LOOP
        EXECUTE format('ALTER POLICY tenant ON %I USING (tenant_id = '
            '(SELECT nullif(current_setting(''core314.tenant_id'', true), '''')::uuid))', name);
    END LOOP;
END $$;
