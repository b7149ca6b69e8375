-- Passwords that an operator sets open only the choice of another one, the
-- passwords of before, the last sign-in, and failed sign-ins of the present
-- quarter of an hour.

alter table people add column one_time text not null default ''; -- until when the password opens only the choice of another; empty where the PI chose it
alter table people add column reset text not null default '';    -- when an operator set a one-time password last; empty for one added before this was recorded

create trigger people_no_twin before insert on people
	when exists (select 1 from people where user = new.user collate nocase)
begin
	select raise(abort, 'user names must differ in more than case');
end;

create table former_passwords (
	row      integer primary key,
	user     text not null references people,
	password text not null -- argon2id, PHC string format; chosen by the PI
) strict;

create index former_passwords_by_user on former_passwords (user);

create table sign_ins (
	user    text primary key references people,
	time    text not null,
	address text not null
) strict, without rowid;

-- Counted from the first one on, which has its line in the audit trail; when the
-- quarter of an hour is over, the row becomes one more line.
create table failed_sign_ins (
	kind     text not null check (kind in ('user', 'client')),
	protocol text not null check (protocol in ('', 'http', 'nats')), -- of a client
	name     text not null, -- empty for all names that nobody has
	address  text not null, -- empty for all beyond the bound of the program
	began    text not null,
	count    integer not null check (count > 0),
	primary key (kind, protocol, name, address)
) strict, without rowid;

create index failed_sign_ins_by_time on failed_sign_ins (began);

-- Clients are slowed in memory; nobody is locked out.
delete from failures where kind = 'client';
