-- Source systems hand in assessments of the studies that are granted to them. An
-- assessment belongs to the first source that registered it.

create table source_grants (
	source  text not null references sources,
	study   text not null,
	revoked text not null default '', -- when
	line    integer not null,         -- of the audit trail, by which it came to be as it is
	primary key (source, study)
) strict, without rowid;

create trigger source_grants_line_added before insert on source_grants
	when new.revoked <> ''
		or exists (
			select 1
			from source_grants
			where source = new.source and study = new.study
		)
		or not exists (
			select 1
			from audit
			where row = new.line and subject = new.source and (
				action = 'source.granted' and study = new.study
				or action = 'source.added' and exists (
					select 1
					from json_each(detail, '$.studies')
					where value = new.study
				)
			)
		)
begin
	select raise(abort, 'a grant needs a line of the audit trail that grants it');
end;

create trigger source_grants_line_changed before update on source_grants
	when new.source <> old.source or new.study <> old.study or new.line <= old.line or not exists (
		select 1
		from audit
		where row = new.line and subject = new.source and study = new.study
			and action = case when new.revoked = '' then 'source.granted' else 'source.revoked' end
	)
begin
	select raise(abort, 'a change of a grant needs a new line of the audit trail about that grant');
end;

create trigger source_grants_no_delete before delete on source_grants
begin
	select raise(abort, 'grants cannot be deleted; they are revoked');
end;

alter table assessments add column source text; -- null: none has registered it

create trigger assessments_keep_their_source before update of source on assessments
	when old.source is not null and new.source is not old.source
begin
	select raise(abort, 'an assessment belongs to the first source that registered it');
end;

-- What happened to an assessment, a PI or a partner, and what changed since.
create index audit_by_subject on audit (subject, row);

-- Failed sign-ins of sources are counted like those of partners.
create table failed_sign_ins_with_sources (
	kind     text not null check (kind in ('user', 'client', 'source')),
	protocol text not null check (protocol in ('', 'http', 'nats')), -- of a client
	name     text not null, -- empty for all names that nobody has
	address  text not null, -- empty for all beyond the bound of the program
	began    text not null,
	count    integer not null check (count > 0),
	primary key (kind, protocol, name, address)
) strict, without rowid;

insert into failed_sign_ins_with_sources select kind, protocol, name, address, began, count from failed_sign_ins;
drop table failed_sign_ins;
alter table failed_sign_ins_with_sources rename to failed_sign_ins;
create index failed_sign_ins_by_time on failed_sign_ins (began);
