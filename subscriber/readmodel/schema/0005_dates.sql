-- For searches by the date of the assessment: it has all that they compare and sort by.
create index reports_date on reports (study, date_from, date_until, id_key) where n_end is null;
