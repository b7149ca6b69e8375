-- The truth of the program. What was signed, published or audited is never
-- changed or deleted: the triggers in 002 hold that.

create table settings (
	name  text primary key,
	value text not null
) strict, without rowid;

-- A study, or the internal study of access events, and the end of its chain.
create table studies (
	row      integer primary key,
	study    text not null unique, -- the study number, NFC
	token    text not null unique,
	sequence integer not null default 0,
	hash     text not null default '',
	time     text not null default '' -- of its last event
) strict;

create table cases (
	study    integer not null references studies,
	number   integer not null,
	subject  text not null,
	revision integer not null default 0, -- the highest ever signed
	primary key (study, number)
) strict, without rowid;

-- Every version of an assessment that was ever registered. It waits while
-- assessments.waiting names it, is signed when signatures has it, and was
-- replaced otherwise.
create table versions (
	row           integer primary key,
	assessment    text not null,
	case_revision integer not null,
	revision      integer not null,
	time          text not null,
	registrar     text not null,
	content       text not null -- the assessment as JSON
) strict;

create index versions_of_assessment on versions (assessment, case_revision, revision);

create table assessments (
	id        text primary key,
	study     integer not null,
	number    integer not null, -- of the case
	waiting   integer,          -- the version that waits
	signed    integer,          -- the version signed last
	published integer,          -- the event that carries the report's last bytes
	available integer not null default 0 check (available in (0, 1)),
	visit     text,             -- the SDTM visit it was made from, as JSON
	foreign key (study, number) references cases (study, number)
) strict, without rowid;

create index assessments_of_case on assessments (study, number);

create table signatures (
	version integer primary key, -- versions.row
	user    text not null,
	name    text not null,
	meaning text not null,
	time    text not null,
	event   integer not null    -- events.row of the report
) strict;

create table withdrawals (
	version integer primary key, -- versions.row
	user    text not null,
	name    text not null,
	reason  text not null,
	time    text not null,
	event   integer not null
) strict;

-- Row order is commit order, because there is one writer at a time and
-- nothing is deleted.
create table events (
	row          integer primary key,
	study        integer not null,
	sequence     integer not null,
	kind         text not null,
	id           text not null,
	subject      text not null,
	time         text not null,
	partitionkey text not null,
	previoushash text not null,
	hash         text not null,
	traceparent  text not null,
	data         blob not null,
	unique (study, sequence)
) strict;

-- Where the broker has put an event. A table of its own, so that an event of
-- many kilobytes is never written twice and never changes at all.
create table ordinals (
	ordinal integer primary key,
	event   integer not null unique references events
) strict;

-- Every event up to the floor has an ordinal or belongs to a parked study.
create table relay (
	only  integer primary key check (only = 1),
	floor integer not null default 0
) strict;

insert into relay (only) values (1);

create table parked (
	study     integer primary key references studies,
	first     integer not null, -- its first event without an ordinal
	reason    text not null,
	time      text not null,
	requester text not null default '' -- who asked for its release
) strict;

create table audit (
	row     integer primary key,
	time    text not null,
	actor   text not null,
	action  text not null,
	study   text not null, -- empty where it concerns none
	subject text not null, -- an assessment, user, partner, source or key id
	version integer,       -- versions.row
	detail  text not null  -- JSON object
) strict;

create table people (
	user     text primary key,
	name     text not null,
	password text not null, -- argon2id, PHC string format
	disabled text not null default '' -- when
) strict, without rowid;

create table grants (
	user  text not null references people,
	study text not null,
	primary key (user, study)
) strict, without rowid;

create table partners (
	id    text primary key,
	state text not null -- JSON, as in its last event
) strict, without rowid;

create table sources (
	id      text primary key,
	secret  text not null, -- lower-case hex SHA-256
	removed text not null default '' -- when
) strict, without rowid;

create table keys (
	id    text primary key,
	state text not null -- JSON, as in its last event
) strict, without rowid;

-- Failed sign-ins in a row. Persistent, so that every process counts the same.
create table failures (
	kind    text not null check (kind in ('user', 'client', 'source')),
	name    text not null,
	address text not null,
	count   integer not null,
	time    text not null, -- of the last one
	primary key (kind, name, address)
) strict, without rowid;

create index failures_by_time on failures (time);
