-- Why: a plan must hold for every tenant, because it is kept for whoever asks next.
--
-- With statistics of `tenant_id` the planner knows which tenants have most rows. For these it walks the primary key and
-- filters by tenant, and a connection keeps that plan for a tenant whose few rows are the oldest of millions. Without
-- them every tenant is one of two hundred, and (tenant_id, ...) is always the better index.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.table_name FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = current_schema() AND c.column_name = 'tenant_id' AND t.table_type = 'BASE TABLE'
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN tenant_id SET STATISTICS 0', name);
    END LOOP;
END $$;
