-- What was signed, published or audited stays as it was written, whoever holds
-- the database open. The insert triggers are against `insert or replace`, which
-- deletes without firing delete triggers.

create trigger audit_no_update before update on audit
begin
	select raise(abort, 'the audit trail cannot be changed');
end;

create trigger audit_no_delete before delete on audit
begin
	select raise(abort, 'the audit trail cannot be deleted');
end;

create trigger audit_no_replace before insert on audit
	when new.row <= (select max(row) from audit) and new.row > 0
begin
	select raise(abort, 'the audit trail cannot be replaced');
end;

create trigger events_no_update before update on events
begin
	select raise(abort, 'events cannot be changed');
end;

create trigger events_no_delete before delete on events
begin
	select raise(abort, 'events cannot be deleted');
end;

create trigger events_no_replace before insert on events
	when new.row <= (select max(row) from events) and new.row > 0
begin
	select raise(abort, 'events cannot be replaced');
end;

create trigger versions_no_update before update on versions
begin
	select raise(abort, 'registered versions cannot be changed');
end;

create trigger versions_no_delete before delete on versions
begin
	select raise(abort, 'registered versions cannot be deleted');
end;

create trigger versions_no_replace before insert on versions
	when new.row <= (select max(row) from versions) and new.row > 0
begin
	select raise(abort, 'registered versions cannot be replaced');
end;

create trigger signatures_no_update before update on signatures
begin
	select raise(abort, 'signatures cannot be changed');
end;

create trigger signatures_no_delete before delete on signatures
begin
	select raise(abort, 'signatures cannot be deleted');
end;

create trigger signatures_no_replace before insert on signatures
	when exists (select 1 from signatures where version = new.version)
begin
	select raise(abort, 'signatures cannot be replaced');
end;

create trigger withdrawals_no_update before update on withdrawals
begin
	select raise(abort, 'withdrawals cannot be changed');
end;

create trigger withdrawals_no_delete before delete on withdrawals
begin
	select raise(abort, 'withdrawals cannot be deleted');
end;

create trigger withdrawals_no_replace before insert on withdrawals
	when exists (select 1 from withdrawals where version = new.version)
begin
	select raise(abort, 'withdrawals cannot be replaced');
end;

create trigger ordinals_no_update before update on ordinals
begin
	select raise(abort, 'ordinals cannot be changed');
end;

create trigger ordinals_no_delete before delete on ordinals
begin
	select raise(abort, 'ordinals cannot be deleted');
end;

create trigger ordinals_no_replace before insert on ordinals
	when exists (select 1 from ordinals where ordinal = new.ordinal or event = new.event)
begin
	select raise(abort, 'ordinals cannot be replaced');
end;

-- An event's second key could be replaced too.
create trigger events_no_twin before insert on events
	when exists (select 1 from events where study = new.study and sequence = new.sequence)
begin
	select raise(abort, 'events cannot be replaced');
end;

create trigger people_no_delete before delete on people
begin
	select raise(abort, 'user names cannot be used again');
end;

create trigger people_no_rename before update of user on people
begin
	select raise(abort, 'user names cannot be used again');
end;

-- A chain only grows.
create trigger studies_forward before update on studies
	when new.study <> old.study or new.token <> old.token or new.sequence < old.sequence
begin
	select raise(abort, 'a study only moves forward');
end;

create trigger studies_no_delete before delete on studies
begin
	select raise(abort, 'studies cannot be deleted');
end;

create trigger settings_no_update before update on settings
begin
	select raise(abort, 'settings are fixed when the outbox is created');
end;

create trigger settings_no_delete before delete on settings
begin
	select raise(abort, 'settings are fixed when the outbox is created');
end;

create trigger settings_no_replace before insert on settings
	when exists (select 1 from settings where name = new.name)
begin
	select raise(abort, 'settings are fixed when the outbox is created');
end;
