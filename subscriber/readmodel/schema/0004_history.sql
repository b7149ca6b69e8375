-- Every event of a clinical study, with what its hash covers; see events.Digest.
-- The hash before it is that of the row before it.
create table events (
	study         integer not null,
	n             integer not null,
	id            text not null,
	source        text not null,
	type          text not null,
	subject       text not null,
	time          text not null,
	content_type  text not null,
	partition_key text not null,
	digest        text not null,    -- of the body
	hash          text not null,
	id_key        text,             -- of the report, if the event is about one
	row           integer,          -- of its body: in bodies if there is an id_key, else in bundles
	reports       integer not null, -- that are available after the event
	observations  integer not null, -- that are available after the event
	report_events integer not null, -- events about reports up to this one
	primary key (study, n)
) strict, without rowid;

create unique index events_reports on events (study, report_events) where id_key is not null;
create index events_report on events (id_key, study, n) where id_key is not null;

-- The Observations of one version of a report, byte for byte as in the event. They
-- are available as long as that version is.
create table bundles (
	row     integer primary key,
	study   integer not null,
	id_key  text not null,    -- of the report
	n       integer not null, -- of the report's version
	version integer not null, -- number of the event
	updated text not null,    -- time of the event
	body    blob not null
) strict;

create unique index bundles_report on bundles (study, id_key, n);

-- The Observations in a bundle. Row is that of the bundle times 1024, plus the
-- place in it, so that rows are in the order of the lesions.
create table observations (
	row        integer primary key,
	bundle     integer not null,
	identifier text not null,
	id         text not null,
	start      integer not null, -- in the bundle's body
	length     integer not null
) strict;

create index observations_identifier on observations (identifier);
create index observations_id on observations (id) where id <> identifier;

alter table reports add column observations integer not null default 0;
create index reports_ended on reports (study, n_end) where n_end is not null;

alter table studies add column observations integer not null default 0;  -- that are available
alter table studies add column report_events integer not null default 0; -- events about reports
