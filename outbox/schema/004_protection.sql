-- What 002 left open: replacing people and studies, letting a disabled PI in
-- again, moving a study, and a trail with gaps.

create trigger people_no_replace before insert on people
	when exists (select 1 from people where user = new.user)
begin
	select raise(abort, 'user names cannot be used again');
end;

create trigger people_stay_disabled before update of disabled on people
	when old.disabled <> '' and new.disabled <> old.disabled
begin
	select raise(abort, 'a PI who was disabled stays disabled');
end;

create trigger studies_no_replace before insert on studies
	when exists (
		select 1
		from studies
		where row = new.row or study = new.study or token = new.token
	)
begin
	select raise(abort, 'studies cannot be replaced');
end;

create trigger studies_no_move before update of row on studies
	when new.row <> old.row
begin
	select raise(abort, 'studies cannot be moved');
end;

-- Only after the insert is the number known that a row without one gets.
create trigger audit_no_gap after insert on audit
	when new.row <> 1 + coalesce((
		select row
		from audit
		where row < new.row
		order by row desc
		limit 1
	), 0)
begin
	select raise(abort, 'the audit trail is numbered without gaps');
end;
