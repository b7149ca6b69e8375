-- A PI reads the audit trail of a few studies, the latest lines first, and the lines by
-- which PIs, partners and sources were added with a grant for one of them.

create index audit_by_study on audit (study, row);
create index audit_of_accounts_added on audit (action, row) where action in ('pi.added', 'partner.added', 'source.added');
