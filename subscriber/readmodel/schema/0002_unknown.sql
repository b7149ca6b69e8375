-- The type of the study's first event of which the program that applied it did
-- not know what it means, and that is not optional; empty where there is none.
-- Nothing is answered from the study then.
alter table studies add column unknown text not null default '';

create index studies_unknown on studies (token) where unknown <> '';
