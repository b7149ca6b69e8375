-- Once anything was signed, a case keeps its subject, an assessment its case.

create trigger cases_bound before update on cases
	when old.revision > 0 and (new.subject <> old.subject or new.study <> old.study or new.number <> old.number)
		or new.revision < old.revision
begin
	select raise(abort, 'a case that was signed keeps its subject and its revision');
end;

create trigger assessments_bound before update of id, study, number on assessments
	when old.signed is not null and (new.id <> old.id or new.study <> old.study or new.number <> old.number)
begin
	select raise(abort, 'an assessment that was signed stays in its case');
end;
