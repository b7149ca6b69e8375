-- Requests to sign access tokens with a new key. The running server carries them
-- out, or the command that asks where no server runs; one at a time.

create table key_rotations (
	row integer primary key,
	requester text not null check (requester <> ''),
	requested text not null,
	key text not null default '', -- id of the new key; '' until it is announced
	finished text                 -- null: to be carried out
) strict;
