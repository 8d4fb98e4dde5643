-- expect: expand
CREATE SCHEMA shop;
-- expect: expand
CREATE SCHEMA IF NOT EXISTS shop AUTHORIZATION app;
-- expect: expand
CREATE SCHEMA shop CREATE TABLE orders (id int) CREATE INDEX i ON orders (id);
-- expect: contract rename
ALTER SCHEMA shop RENAME TO store;
-- expect: contract change-owner
ALTER SCHEMA shop OWNER TO app;
-- expect: contract drop-object
DROP SCHEMA shop;
-- expect: unsafe drop-object, drop-cascade
DROP SCHEMA IF EXISTS shop CASCADE;

-- expect: expand
CREATE SEQUENCE order_ids AS bigint START 100;
-- expect: expand
ALTER SEQUENCE order_ids AS bigint;
-- expect: expand
ALTER SEQUENCE order_ids OWNED BY orders.id;
-- expect: expand
ALTER SEQUENCE order_ids CACHE 50;
-- expect: contract alter-sequence
ALTER SEQUENCE order_ids RESTART WITH 1;
-- expect: contract alter-sequence
ALTER SEQUENCE order_ids INCREMENT BY 50;
-- expect: contract alter-sequence
ALTER SEQUENCE order_ids MAXVALUE 1000 CYCLE;
-- expect: contract drop-object
DROP SEQUENCE order_ids;

-- expect: expand
CREATE STATISTICS order_stats (dependencies) ON town, street FROM addresses;
-- expect: expand
ALTER STATISTICS order_stats SET STATISTICS 500;
-- expect: expand
ALTER STATISTICS order_stats RENAME TO stats;
-- expect: expand
DROP STATISTICS order_stats;
-- expect: expand
COMMENT ON TABLE orders IS 'what people buy';
-- expect: expand
COMMENT ON COLUMN orders.note IS NULL;
-- expect: contract alter-object
SECURITY LABEL FOR selinux ON TABLE orders IS 'system_u:object_r:sepgsql_table_t:s0';

-- expect: expand
GRANT SELECT, INSERT ON orders TO app;
-- expect: expand
GRANT USAGE ON SCHEMA shop TO PUBLIC;
-- expect: expand
GRANT readers TO app WITH ADMIN OPTION;
-- expect: contract revoke
REVOKE INSERT ON orders FROM app;
-- expect: contract revoke
REVOKE ALL ON ALL TABLES IN SCHEMA shop FROM app CASCADE;
-- expect: contract revoke
REVOKE readers FROM app;
-- expect: expand
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO app;
-- expect: expand
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
-- expect: expand
CREATE ROLE readers NOLOGIN;
-- expect: expand
CREATE USER app PASSWORD 'x';
-- expect: contract alter-role
ALTER ROLE app NOLOGIN;
-- expect: contract alter-role
ALTER USER app PASSWORD 'y';
-- expect: contract alter-role
ALTER GROUP readers ADD USER app;
-- expect: expand change-setting
ALTER ROLE app SET statement_timeout = '5s';
-- expect: expand change-setting
ALTER ROLE ALL IN DATABASE shop RESET ALL;
-- expect: contract rename
ALTER ROLE app RENAME TO web;
-- expect: contract drop-object
DROP ROLE app;
-- expect: unsafe beyond-schema
DROP OWNED BY app;
-- expect: unsafe beyond-schema
REASSIGN OWNED BY app TO web;

-- expect: expand
CREATE POLICY own ON orders USING (owner = current_user);
-- expect: expand
CREATE POLICY own ON orders AS PERMISSIVE FOR SELECT TO app USING (true);
-- expect: contract row-security
CREATE POLICY own ON orders AS RESTRICTIVE USING (owner = current_user);
-- expect: contract row-security
ALTER POLICY own ON orders USING (true);
-- expect: expand
ALTER POLICY own ON orders RENAME TO mine;
-- expect: contract row-security
DROP POLICY own ON orders;

-- expect: expand
CREATE EXTENSION IF NOT EXISTS citext;
-- expect: unsafe unknown-code
ALTER EXTENSION citext UPDATE TO '1.6';
-- expect: expand
ALTER EXTENSION citext ADD FUNCTION total(int);
-- expect: contract set-schema
ALTER EXTENSION citext SET SCHEMA extensions;
-- expect: contract drop-object
DROP EXTENSION citext;
-- expect: expand
CREATE LANGUAGE plperl;
-- expect: expand
CREATE TRUSTED LANGUAGE plperl HANDLER h;
-- expect: expand replace-function
CREATE OR REPLACE LANGUAGE plperl HANDLER h;
-- expect: contract drop-object
DROP LANGUAGE plperl;
-- expect: expand
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER h;
-- expect: contract drop-object
DROP ACCESS METHOD heap2;
-- expect: unsafe unknown-code
LOAD 'auto_explain';

-- expect: expand publication
CREATE PUBLICATION changes FOR TABLE orders;
-- expect: expand publication
CREATE PUBLICATION changes FOR ALL TABLES;
-- expect: expand publication
ALTER PUBLICATION changes ADD TABLE customers;
-- expect: contract alter-object
ALTER PUBLICATION changes DROP TABLE orders;
-- expect: contract alter-object
ALTER PUBLICATION changes SET (publish = 'insert');
-- expect: contract rename
ALTER PUBLICATION changes RENAME TO updates;
-- expect: contract drop-object
DROP PUBLICATION changes;
-- expect: unsafe beyond-schema
CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION changes;
-- expect: unsafe beyond-schema
ALTER SUBSCRIPTION s DISABLE;
-- expect: unsafe beyond-schema
DROP SUBSCRIPTION s;
-- expect: expand
CREATE FOREIGN DATA WRAPPER w;
-- expect: contract alter-object
ALTER FOREIGN DATA WRAPPER w NO HANDLER;
-- expect: contract drop-object
DROP FOREIGN DATA WRAPPER w;
-- expect: expand
CREATE SERVER far FOREIGN DATA WRAPPER w;
-- expect: contract alter-object
ALTER SERVER far OPTIONS (SET host 'y');
-- expect: contract drop-object
DROP SERVER far;
-- expect: expand
CREATE USER MAPPING FOR app SERVER far;
-- expect: contract alter-object
ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'y');
-- expect: contract drop-object
DROP USER MAPPING FOR app SERVER far;

-- expect: unsafe beyond-schema
CREATE DATABASE shop;
-- expect: unsafe beyond-schema
DROP DATABASE shop;
-- expect: contract alter-object
ALTER DATABASE shop CONNECTION LIMIT 10;
-- expect: unsafe beyond-schema
ALTER DATABASE shop SET TABLESPACE fast;
-- expect: expand change-setting
ALTER DATABASE shop SET timezone = 'UTC';
-- expect: expand
ALTER DATABASE shop REFRESH COLLATION VERSION;
-- expect: contract rename
ALTER DATABASE shop RENAME TO store;
-- expect: unsafe beyond-schema
CREATE TABLESPACE fast LOCATION '/fast';
-- expect: expand
ALTER TABLESPACE fast SET (random_page_cost = 1);
-- expect: unsafe beyond-schema
DROP TABLESPACE fast;
-- expect: unsafe beyond-schema
ALTER SYSTEM SET work_mem = '1GB';

-- expect: expand
SET LOCAL search_path = shop;
-- expect: expand
SHOW search_path;
-- expect: expand
RESET work_mem;
-- expect: unsafe beyond-schema
RESET ALL;
-- expect: unsafe beyond-schema
DISCARD ALL;
-- expect: expand
SET CONSTRAINTS ALL DEFERRED;
-- expect: expand
DECLARE batches CURSOR FOR SELECT * FROM orders;
-- expect: expand
FETCH 10 FROM batches;
-- expect: expand
CLOSE batches;
-- expect: expand
NOTIFY changed;
-- expect: expand
LISTEN changed;
-- expect: expand
UNLISTEN changed;
-- expect: expand
CHECKPOINT;
-- expect: expand
BEGIN;
