-- How far the stream was read. One row, for ever.
create table position (
	one      integer primary key check (one = 1),
	created  text not null,    -- when the stream was created
	sequence integer not null, -- of the last message applied
	id       text not null,    -- and of its event
	hash     text not null
) strict;

insert into position (one, created, sequence, id, hash)
values (1, '', 0, '', '');

-- The end of each study's chain.
create table studies (
	study    integer primary key,
	token    text not null unique,
	sequence integer not null,
	hash     text not null,
	reports  integer not null -- that are available
) strict;

-- Versions of reports: each holds for the numbers n up to but without n_end of
-- its study's events. Null: it is available. A withdrawal is a version that
-- ends where it begins. Dates are intervals; the one of a moment is itself.
create table reports (
	row        integer primary key,
	study      integer not null,
	id_key     text not null, -- the id in the form that sorts
	n          integer not null,
	n_end      integer,
	updated    text not null,
	issued     text not null,
	date_from  text not null,
	date_until text not null,
	case_id    integer not null,
	subject    text not null,
	name       text not null,
	conclusion text not null,
	id         text not null,
	check (n_end >= n)
) strict;

create unique index reports_available on reports (study, id_key) where n_end is null;
create unique index reports_versions on reports (id_key, study, n);
create index reports_updated on reports (study, updated) where n_end is null;
create index reports_subject on reports (study, subject, id_key) where n_end is null;

-- What a version consists of, byte for byte. Apart, so that a search that
-- looks at many rows reads few pages.
create table bodies (
	row  integer primary key,
	body blob not null
) strict;

-- Access events as they came; the last of each subject counts.
create table access (
	n       integer primary key,
	type    text not null,
	subject text not null,
	body    blob not null
) strict;

create index access_subject on access (subject, n);
