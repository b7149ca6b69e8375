-- The audit trail is a hash chain: each line has the hash of itself and of the
-- line before. Lines of before have none; the program hashes all of them with
-- the first line of the chain, whose number is the setting 'audit chain'. They
-- are not changed, so it takes as long as reading them.

alter table audit add column account text not null default ''; -- of the operating system
alter table audit add column host text not null default '';
alter table audit add column process integer not null default 0;
alter table audit add column address text not null default ''; -- of the client, over HTTP
alter table audit add column hash text not null default ''; -- lower-case hex SHA-256

-- The hash covers the number, so the program always writes both. One trigger does
-- for what two did.
drop trigger audit_no_replace;
drop trigger audit_no_gap;

create trigger audit_next before insert on audit
	when length(new.hash) <> 64 or new.row <> 1 + coalesce((select max(row) from audit), 0)
begin
	select raise(abort, 'a line of the audit trail needs the next number and its hash');
end;

-- What decides who may do what names the line of the audit trail by which it
-- came to be as it is. A grant that is revoked keeps its row, so that it cannot
-- be granted again by a line of before. Rows of before name the last line that
-- there was, so that no line of before can be named later.

alter table people   add column line integer not null default 0;
alter table grants   add column line integer not null default 0;
alter table grants   add column revoked text not null default ''; -- when
alter table sources  add column line integer not null default 0;
alter table partners add column line integer not null default 0;
alter table keys     add column line integer not null default 0;

update people   set line = (select coalesce(max(row), 0) from audit);
update grants   set line = (select coalesce(max(row), 0) from audit);
update sources  set line = (select coalesce(max(row), 0) from audit);
update partners set line = (select coalesce(max(row), 0) from audit);
update keys     set line = (select coalesce(max(row), 0) from audit);

create trigger people_line_added before insert on people
	when not exists (
		select 1
		from audit
		where row = new.line and subject = new.user and action = 'pi.added'
	)
begin
	select raise(abort, 'a PI needs a line of the audit trail that adds it');
end;

create trigger people_line_changed before update on people
	when new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.user
			and substr(action, 1, 3) = 'pi.' and action not in ('pi.added', 'pi.granted', 'pi.revoked')
			and (new.disabled = old.disabled or action = 'pi.disabled')
			and (new.reset = old.reset or action = 'pi.password-reset')
			and (new.one_time = old.one_time or action in ('pi.password-reset', 'pi.password-set'))
			and (new.password = old.password or action in ('pi.password-reset', 'pi.password-set', 'pi.password-rehashed'))
	)
begin
	select raise(abort, 'a change of a PI needs a new line of the audit trail about that PI');
end;

-- A former password names the line by which another took its place. The last five
-- are kept.
alter table former_passwords add column line integer not null default 0;

update former_passwords set line = (select coalesce(max(row), 0) from audit);

create trigger former_passwords_line_added before insert on former_passwords
	when new.line <= coalesce((select max(line) from former_passwords where user = new.user), 0)
		or exists (select 1 from former_passwords where row = new.row)
		or not exists (
			select 1
			from audit
			where row = new.line and subject = new.user and action in ('pi.password-reset', 'pi.password-set')
		)
begin
	select raise(abort, 'a former password needs a new line of the audit trail that replaces it');
end;

create trigger former_passwords_no_update before update on former_passwords
begin
	select raise(abort, 'former passwords cannot be changed');
end;

create trigger former_passwords_no_delete before delete on former_passwords
	when (select count(*) from former_passwords where user = old.user and row > old.row) < 5
begin
	select raise(abort, 'the last five former passwords are kept');
end;

create trigger grants_line_added before insert on grants
	when new.revoked <> ''
		or exists (
			select 1
			from grants
			where user = new.user and study = new.study
		)
		or not exists (
			select 1
			from audit
			where row = new.line and subject = new.user and (
				action = 'pi.granted' and study = new.study
				or action = 'pi.added' and exists (
					select 1
					from json_each(detail, '$.studies')
					where value = new.study
				)
			)
		)
begin
	select raise(abort, 'a grant needs a line of the audit trail that grants it');
end;

create trigger grants_line_changed before update on grants
	when new.user <> old.user or new.study <> old.study or new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.user and study = new.study
			and action = case when new.revoked = '' then 'pi.granted' else 'pi.revoked' end
	)
begin
	select raise(abort, 'a change of a grant needs a new line of the audit trail about that grant');
end;

create trigger grants_no_delete before delete on grants
begin
	select raise(abort, 'grants cannot be deleted; they are revoked');
end;

create trigger sources_line_added before insert on sources
	when exists (select 1 from sources where id = new.id) or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and action = 'source.added'
	)
begin
	select raise(abort, 'a source needs a line of the audit trail that adds it');
end;

create trigger sources_line_changed before update on sources
	when new.id <> old.id or new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and substr(action, 1, 7) = 'source.' and action <> 'source.added'
	)
begin
	select raise(abort, 'a change of a source needs a new line of the audit trail about that source');
end;

create trigger sources_no_delete before delete on sources
begin
	select raise(abort, 'source ids cannot be used again');
end;

create trigger partners_line_added before insert on partners
	when exists (select 1 from partners where id = new.id) or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and action = 'partner.added'
	)
begin
	select raise(abort, 'a partner needs a line of the audit trail that adds it');
end;

create trigger partners_line_changed before update on partners
	when new.id <> old.id or new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and substr(action, 1, 8) = 'partner.' and action <> 'partner.added'
	)
begin
	select raise(abort, 'a change of a partner needs a new line of the audit trail about that partner');
end;

create trigger partners_no_delete before delete on partners
begin
	select raise(abort, 'partner ids cannot be used again');
end;

create trigger keys_line_added before insert on keys
	when exists (select 1 from keys where id = new.id) or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and action = 'key.announced'
	)
begin
	select raise(abort, 'a key needs a line of the audit trail that announces it');
end;

create trigger keys_line_changed before update on keys
	when new.id <> old.id or new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.id and substr(action, 1, 4) = 'key.'
	)
begin
	select raise(abort, 'a change of a key needs a new line of the audit trail about that key');
end;

create trigger keys_no_delete before delete on keys
begin
	select raise(abort, 'keys cannot be deleted; they are retired');
end;

-- What is known of the clock. Event times from accepted to ceiling are of a clock
-- that was ahead before an operator accepted the present one; they do not count.
create table clock (
	only     integer primary key check (only = 1),
	noted    text not null default '', -- by a running server, or when it was accepted
	accepted text not null default '',
	ceiling  text not null default '',
	line     integer not null default 0 -- of the audit trail, by which it was accepted
) strict;

insert into clock (only) values (1);

create trigger clock_line_accepted before update of accepted, ceiling, line on clock
	when new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and action = 'clock.accepted'
	)
begin
	select raise(abort, 'accepting the clock needs a new line of the audit trail');
end;

create trigger clock_no_replace before insert on clock
begin
	select raise(abort, 'there is one clock');
end;

create trigger clock_no_delete before delete on clock
begin
	select raise(abort, 'there is one clock');
end;
