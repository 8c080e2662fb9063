-- Why: whoever presses a button in a chat is known by their address there.
CREATE INDEX contacts_by_address ON contacts (tenant_id, kind, address);
