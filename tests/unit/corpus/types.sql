-- expect: expand
CREATE TYPE order_status AS ENUM ('new', 'paid');
-- expect: expand
CREATE TYPE address AS (street text, town text);
-- expect: expand
CREATE TYPE span AS RANGE (subtype = float8);
-- expect: expand
CREATE TYPE shell;
-- expect: expand
CREATE TYPE box4 (INPUT = box4_in, OUTPUT = box4_out);
-- expect: expand
CREATE DOMAIN email AS citext CHECK (VALUE ~ '@');
-- expect: expand add-enum-value
ALTER TYPE order_status ADD VALUE 'sent';
-- expect: expand add-enum-value
ALTER TYPE order_status ADD VALUE IF NOT EXISTS 'sent' AFTER 'paid';
-- expect: contract rename
ALTER TYPE order_status RENAME VALUE 'paid' TO 'settled';
-- expect: contract rename
ALTER TYPE order_status RENAME TO state;
-- expect: contract rename
ALTER TYPE address RENAME ATTRIBUTE town TO city;
-- expect: contract change-owner
ALTER TYPE order_status OWNER TO app;
-- expect: contract set-schema
ALTER TYPE order_status SET SCHEMA archive;
-- expect: contract alter-object
ALTER TYPE box4 SET (STORAGE = extended);
-- expect: contract drop-type
DROP TYPE order_status;
-- expect: unsafe drop-type, drop-cascade
DROP TYPE IF EXISTS order_status CASCADE;
-- expect: contract drop-type
DROP DOMAIN email;
-- expect: expand set-default
ALTER DOMAIN email SET DEFAULT 'a@b';
-- expect: contract drop-default
ALTER DOMAIN email DROP DEFAULT;
-- expect: unsafe domain-scan, new-constraint
ALTER DOMAIN email SET NOT NULL;
-- expect: expand drop-not-null
ALTER DOMAIN email DROP NOT NULL;
-- expect: unsafe domain-scan, new-constraint
ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 100);
-- expect: contract new-constraint
ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 100) NOT VALID;
-- expect: unsafe domain-scan
ALTER DOMAIN email VALIDATE CONSTRAINT short;
-- expect: contract drop-constraint
ALTER DOMAIN email DROP CONSTRAINT IF EXISTS short;
-- expect: expand
ALTER DOMAIN email RENAME CONSTRAINT short TO brief;
-- expect: contract rename
ALTER DOMAIN email RENAME TO mail;
-- expect: contract change-owner
ALTER DOMAIN email OWNER TO app;

-- expect: expand
CREATE CAST (text AS order_status) WITH INOUT;
-- expect: expand create-cast
CREATE CAST (text AS order_status) WITH INOUT AS IMPLICIT;
-- expect: expand create-cast
CREATE CAST (text AS order_status) WITHOUT FUNCTION AS ASSIGNMENT;
-- expect: contract drop-object
DROP CAST (text AS order_status);
-- expect: expand
CREATE OPERATOR === (LEFTARG = box, RIGHTARG = box, FUNCTION = area_equal);
-- expect: contract alter-object
ALTER OPERATOR === (box, box) SET (RESTRICT = NONE);
-- expect: contract drop-object
DROP OPERATOR === (box, box);
-- expect: expand
CREATE OPERATOR CLASS ops DEFAULT FOR TYPE box USING gist AS OPERATOR 1 <<, FUNCTION 1 f(internal);
-- expect: expand
CREATE OPERATOR FAMILY fam USING btree;
-- expect: expand
ALTER OPERATOR FAMILY fam USING btree ADD FUNCTION 1 f(int, int);
-- expect: contract alter-object
ALTER OPERATOR FAMILY fam USING btree DROP FUNCTION 1 (int, int);
-- expect: contract drop-object
DROP OPERATOR CLASS ops USING gist;
-- expect: contract drop-object
DROP OPERATOR FAMILY fam USING btree;
-- expect: expand
CREATE COLLATION german (provider = icu, locale = 'de');
-- expect: expand
ALTER COLLATION german REFRESH VERSION;
-- expect: contract drop-object
DROP COLLATION german;
-- expect: expand
CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM f;
-- expect: contract drop-object
DROP CONVERSION c;
-- expect: expand
CREATE TEXT SEARCH CONFIGURATION swiss (COPY = german);
-- expect: expand
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple);
-- expect: contract alter-object
ALTER TEXT SEARCH CONFIGURATION swiss ADD MAPPING FOR word WITH words;
-- expect: contract alter-object
ALTER TEXT SEARCH DICTIONARY words (StopWords = swiss);
-- expect: contract drop-object
DROP TEXT SEARCH CONFIGURATION swiss;
-- expect: expand
CREATE TRANSFORM FOR hstore LANGUAGE plpython3u (FROM SQL WITH FUNCTION f(internal));
-- expect: expand replace-function
CREATE OR REPLACE TRANSFORM FOR hstore LANGUAGE plpython3u (FROM SQL WITH FUNCTION f(internal));
-- expect: contract drop-object
DROP TRANSFORM FOR hstore LANGUAGE plpython3u;
