-- By which derivation the content was made from the events: what a table holds
-- of events that were applied before the table was there, nobody can add later.
-- A program with another number fills the model anew. 0 is what was made before
-- there were numbers. Filling is another number after each filling, so that
-- whoever follows the stream notices that the content is not what it has read.
create table derivation (
	one     integer primary key check (one = 1),
	number  integer not null,
	filling integer not null
) strict;

insert into derivation (one, number, filling)
values (1, 0, 0);
