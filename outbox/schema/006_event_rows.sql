-- The rows of events are numbered 1, 2, 3 … in commit order: the publisher and
-- the count of events rely on it.

create trigger events_no_gap after insert on events
	when new.row <> 1 + coalesce((
		select row
		from events
		where row < new.row
		order by row desc
		limit 1
	), 0)
begin
	select raise(abort, 'events are numbered without gaps');
end;
