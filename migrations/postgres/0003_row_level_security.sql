-- Why: the database itself keeps tenants apart and its history unaltered, whatever the program above it gets wrong.
--
-- Roles belong to the cluster, not to the database: another database may be creating them at this very moment. Each
-- transaction of the program chooses one of the two with SET LOCAL ROLE; neither can log in.
DO $$
BEGIN
    FOR attempt IN 1..20 LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'core314_service') THEN
                CREATE ROLE core314_service NOLOGIN;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'core314_tenant') THEN
                CREATE ROLE core314_tenant NOLOGIN;
            END IF;
            RETURN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- It exists now: look again.
        END;
    END LOOP;
    RAISE EXCEPTION 'the roles core314_service and core314_tenant could not be created';
END $$;

-- A tenant sees its rows in every table that has a tenant, and nothing of the others. The service, which writes for all,
-- names the tenant in its statements. An unset tenant is no tenant.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.table_name FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = current_schema() AND c.column_name = 'tenant_id' AND t.table_type = 'BASE TABLE'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I FOR SELECT TO core314_tenant '
            'USING (tenant_id = nullif(current_setting(''core314.tenant_id'', true), '''')::uuid)', name);
        EXECUTE format('CREATE POLICY service ON %I TO core314_service USING (true) WITH CHECK (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO core314_tenant', name);
    END LOOP;
    -- Views read with the rights of whoever asks (security_invoker).
    FOR name IN SELECT table_name FROM information_schema.views WHERE table_schema = current_schema() LOOP
        EXECUTE format('GRANT SELECT ON %I TO core314_tenant, core314_service', name);
    END LOOP;
    FOR name IN
        SELECT table_name FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name NOT LIKE '\_sqlx%'
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO core314_service', name);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO core314_service, core314_tenant', current_schema());
END $$;

-- History is only ever added to. The right is taken away, and triggers refuse even the owner.
REVOKE UPDATE, DELETE ON log, audit, log_checkpoints FROM core314_service;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: its rows are neither changed nor deleted', TG_TABLE_NAME;
END $$;

CREATE TRIGGER log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
