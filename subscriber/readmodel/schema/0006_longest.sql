-- How many days the longest of the study's dates of assessments has, in any version. A
-- search by date need not look at dates that begin so long before. No date is as long as
-- the default, which is for studies that were stored before this column was there. So it
-- needs no new derivation.
alter table studies add column longest integer not null default 367;
