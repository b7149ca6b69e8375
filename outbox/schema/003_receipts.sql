-- How far the broker got with each partner's consumers, in stream sequences:
-- those are the ordinals of events, and stay theirs when the stream is made
-- anew. A row begins with a grant and ends with its revocation.
create table receipts (
	partner      text not null references partners,
	study        text not null, -- token
	delivered    integer not null,
	acknowledged integer not null,
	time         text not null, -- when the broker said so; empty where it has not yet
	granted      text not null, -- what the broker said before does not count; empty where unknown
	primary key (partner, study)
) strict, without rowid;

create trigger receipts_forward before update on receipts
	when new.delivered < old.delivered or new.acknowledged < old.acknowledged
		or new.partner <> old.partner or new.study <> old.study
begin
	select raise(abort, 'a receipt only moves forward');
end;
