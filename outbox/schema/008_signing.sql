-- What a signature covers, and that a withdrawal is a signature. Signatures and
-- withdrawals of before have neither.

alter table signatures add column digest text not null default ''; -- SHA-256 of versions.content, lower-case hex

alter table withdrawals add column meaning text not null default '';
