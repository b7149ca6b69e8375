-- A request to sign access tokens with a new key names the line of the audit trail
-- by which it came to be as it is, like the keys. Requests of before name the last
-- line that there was.

alter table key_rotations add column line integer not null default 0;

update key_rotations set line = (select coalesce(max(row), 0) from audit);

create trigger key_rotations_line_added before insert on key_rotations
	when new.key <> '' or new.finished is not null
		or new.line <= coalesce((select max(line) from key_rotations), 0)
		or exists (select 1 from key_rotations where row = new.row)
		or not exists (
			select 1
			from audit
			where row = new.line and actor = new.requester and action = 'key.rotation-requested'
		)
begin
	select raise(abort, 'a key rotation needs a new line of the audit trail that requests it');
end;

-- The new key is announced, perhaps more than once. When the rotation is finished,
-- the line is that of the last key that was retired for the new one. Where none was,
-- because all had ended before, it stays.
create trigger key_rotations_line_changed before update on key_rotations
	when new.row <> old.row or new.requester <> old.requester or new.requested <> old.requested or old.finished is not null
		or not case
			when new.finished is null then
				new.key = old.key and new.line = old.line
				or new.line > old.line and exists (
					select 1
					from audit
					where row = new.line and subject = new.key and action = 'key.announced'
				)
			when new.key <> old.key or new.key = '' then false
			when new.line = old.line then
				not exists (
					select 1
					from keys
					where id <> new.key and line < new.line and json_extract(state, '$.until') is null
				)
			else
				new.line > old.line and exists (
					select 1
					from audit
					where row = new.line and action = 'key.retired' and json_extract(detail, '$.current') = new.key
				)
		end
begin
	select raise(abort, 'a change of a key rotation needs a new line of the audit trail about its key');
end;

create trigger key_rotations_no_delete before delete on key_rotations
begin
	select raise(abort, 'key rotations cannot be deleted; they are finished');
end;
