-- What PIs look for: the cases that wait, the oldest first, a subject, and what they
-- have signed.

create index assessments_waiting on assessments (study, number, waiting) where waiting is not null;
create index cases_by_subject on cases (subject);
create index signatures_by_user on signatures (user, version);

-- A version that a PI has returned to its source does not wait any more. It waits
-- again when it is registered again.
create table returns (
	version integer primary key, -- versions.row
	user    text not null,
	name    text not null,
	reason  text not null,
	time    text not null
) strict;

create trigger returns_no_update before update on returns
begin
	select raise(abort, 'returns cannot be changed');
end;

create trigger returns_no_delete before delete on returns
begin
	select raise(abort, 'returns cannot be deleted');
end;

create trigger returns_no_replace before insert on returns
	when exists (select 1 from returns where version = new.version)
begin
	select raise(abort, 'returns cannot be replaced');
end;
