-- What a PI has signed is listed by its events, the latest first. In their order a page
-- reads only its own signatures.

drop index signatures_by_user;
create index signatures_by_user on signatures (user, event);
