-- expect: expand
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text UNIQUE, amount int CHECK (amount > 0));
-- expect: expand
CREATE TABLE IF NOT EXISTS orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
-- expect: expand
CREATE TABLE orders (id bigserial, customer bigint REFERENCES customers, FOREIGN KEY (id) REFERENCES other (id));
-- expect: expand
CREATE TABLE orders (LIKE old_orders INCLUDING ALL);
-- expect: expand
CREATE TABLE orders OF order_type (PRIMARY KEY (id));
-- expect: expand
CREATE TABLE orders (id int) INHERITS (things);
-- expect: expand
CREATE TABLE orders (id int, day date) PARTITION BY RANGE (day);
-- expect: expand create-partition
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
-- expect: expand create-partition
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
-- expect: expand
CREATE UNLOGGED TABLE scratch (id int);
-- expect: expand
CREATE TEMPORARY TABLE scratch (id int) ON COMMIT DROP;
-- expect: expand
CREATE TABLE orders (id int, EXCLUDE USING gist (id WITH =)) WITH (fillfactor = 70) TABLESPACE fast;
-- expect: expand
CREATE TABLE copy AS SELECT * FROM orders;
-- expect: expand
CREATE TABLE IF NOT EXISTS copy AS TABLE orders WITH NO DATA;
-- expect: unsafe unknown-code
CREATE TABLE copy AS EXECUTE prepared(1);
-- expect: expand
SELECT id, note INTO copy FROM orders;
-- expect: expand
CREATE FOREIGN TABLE far_orders (id int) SERVER far OPTIONS (table_name 'orders');
-- expect: expand create-partition
CREATE FOREIGN TABLE far_2020 PARTITION OF orders FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') SERVER far;
-- expect: expand
IMPORT FOREIGN SCHEMA public LIMIT TO (orders) FROM SERVER far INTO far;

-- expect: contract drop-table
DROP TABLE orders;
-- expect: contract drop-table, drop-table
DROP TABLE IF EXISTS shop.orders, customers RESTRICT;
-- expect: unsafe drop-table, drop-cascade
DROP TABLE orders CASCADE;
-- expect: contract drop-table
DROP FOREIGN TABLE far_orders;
-- expect: unsafe truncate
TRUNCATE orders;
-- expect: unsafe truncate, truncate
TRUNCATE TABLE ONLY orders, customers RESTART IDENTITY;
-- expect: unsafe truncate, drop-cascade
TRUNCATE orders CASCADE;
-- expect: unsafe lock-table
LOCK TABLE orders;
-- expect: unsafe lock-table
LOCK TABLE orders IN SHARE MODE;
-- expect: unsafe lock-table
LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE NOWAIT;
-- expect: expand
LOCK TABLE orders IN ACCESS SHARE MODE;
-- expect: expand
LOCK TABLE orders IN ROW EXCLUSIVE MODE;
-- expect: expand
LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE;
-- expect: unsafe rewrite-table
CLUSTER orders USING orders_pkey;
-- expect: unsafe rewrite-table
CLUSTER;
-- expect: unsafe rewrite-table
VACUUM FULL orders;
-- expect: unsafe rewrite-table, rewrite-table
VACUUM (FULL, ANALYZE) orders, customers;
-- expect: unsafe rewrite-table
VACUUM (FULL true);
-- expect: expand
VACUUM (FULL off) orders;
-- expect: expand
VACUUM;
-- expect: expand
VACUUM (ANALYZE, VERBOSE) orders;
-- expect: expand
ANALYZE orders (note);
-- expect: expand
ANALYZE;
