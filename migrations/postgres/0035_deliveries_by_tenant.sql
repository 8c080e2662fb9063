-- Why: every page is read within a tenant. An index that begins with the webhook looked no better to PostgreSQL's planner than
-- the one of all the tenant's rows, and it took that one.
DROP INDEX deliveries_by_webhook;
CREATE INDEX deliveries_by_webhook ON deliveries (tenant_id, webhook_id, id);
DROP INDEX runs_by_webhook;
CREATE INDEX runs_by_webhook ON runs (tenant_id, trigger_source, id) WHERE webhook IS NOT NULL;
