-- What servers before 18 cannot read.
-- server: 13

-- expect: unsafe newer-syntax
ALTER TABLE orders ADD COLUMN total numeric GENERATED ALWAYS AS (price * amount) VIRTUAL;
-- expect: unsafe newer-syntax
CREATE TABLE orders (id int, twice int GENERATED ALWAYS AS (id * 2));
-- expect: unsafe new-constraint, newer-syntax
ALTER TABLE orders ADD CONSTRAINT given NOT NULL note NOT VALID;
-- expect: unsafe newer-syntax
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0) NOT ENFORCED;
-- expect: unsafe newer-syntax
CREATE TABLE orders (id int, CONSTRAINT given NOT NULL id);
-- expect: unsafe newer-syntax
CREATE TABLE rooms (id int, during tstzrange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
-- expect: unsafe newer-syntax
CREATE TABLE stays (room int, during tstzrange, FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during));
-- expect: unsafe alter-constraint, newer-syntax
ALTER TABLE orders ALTER CONSTRAINT buyer NOT ENFORCED;
-- expect: unsafe newer-syntax
UPDATE orders SET note = '' WHERE id = 5 RETURNING WITH (OLD AS o) o.note;
-- expect: unsafe newer-syntax
CREATE FOREIGN TABLE far_orders (LIKE orders) SERVER far;
-- expect: unsafe generated-column, rewrite-table, newer-syntax
ALTER TABLE orders ALTER COLUMN total SET EXPRESSION AS (price * 2);
-- expect: unsafe newer-syntax, newer-syntax
MERGE INTO orders o USING (VALUES (1)) AS v (id) ON o.id = v.id WHEN MATCHED THEN DELETE RETURNING o.id;
-- expect: unsafe unbounded-write, newer-syntax, newer-syntax
MERGE INTO orders o USING (VALUES (1)) AS v (id) ON o.id = v.id WHEN NOT MATCHED BY SOURCE THEN DELETE;
-- expect: unsafe newer-syntax
GRANT MAINTAIN ON orders TO app;
-- expect: unsafe newer-syntax
ALTER TABLE orders ALTER COLUMN note SET STORAGE DEFAULT;
-- expect: unsafe newer-syntax
CREATE TABLE orders (note text STORAGE external);
-- expect: unsafe newer-syntax
CREATE STATISTICS ON town, street FROM addresses;
-- expect: unsafe new-constraint, newer-syntax
CREATE UNIQUE INDEX CONCURRENTLY orders_code ON orders (code) NULLS NOT DISTINCT;
-- expect: unsafe newer-syntax
CREATE TABLE orders (code text UNIQUE NULLS NOT DISTINCT);
-- expect: unsafe rewrite-table, newer-syntax
ALTER TABLE orders SET ACCESS METHOD heap2;
-- expect: unsafe new-constraint, newer-syntax
ALTER TABLE orders ADD FOREIGN KEY (shop, buyer) REFERENCES c ON DELETE SET NULL (buyer) NOT VALID;
-- expect: unsafe newer-syntax
CREATE VIEW open_orders WITH (security_invoker) AS SELECT 1;
-- expect: unsafe publication, newer-syntax
CREATE PUBLICATION changes FOR TABLES IN SCHEMA shop;
-- expect: unsafe publication, newer-syntax
CREATE PUBLICATION changes FOR TABLE orders (id, note) WHERE (id > 5);
-- expect: unsafe newer-syntax
ALTER DATABASE shop REFRESH COLLATION VERSION;
-- expect: unsafe detach-partition, newer-syntax
ALTER TABLE orders DETACH PARTITION orders_2020 CONCURRENTLY;
-- expect: contract detach-partition
ALTER TABLE orders DETACH PARTITION orders_2020;
-- expect: unsafe newer-syntax
ALTER TABLE orders DETACH PARTITION orders_2020 FINALIZE;
-- expect: unsafe newer-syntax
ALTER TABLE orders ALTER COLUMN note SET COMPRESSION lz4;
-- expect: unsafe newer-syntax
ALTER TABLE orders ADD COLUMN note text COMPRESSION lz4;
-- expect: unsafe newer-syntax
CREATE FUNCTION half(a int) RETURNS int RETURN a / 2;
-- expect: unsafe replace-function, newer-syntax
CREATE OR REPLACE TRIGGER audit BEFORE DELETE ON orders EXECUTE FUNCTION guard();
-- expect: unsafe newer-syntax
CREATE STATISTICS order_stats ON lower(town), street FROM addresses;
-- expect: unsafe newer-syntax
CREATE TYPE span AS RANGE (subtype = float8, multirange_type_name = spans);
-- expect: unsafe newer-syntax
REINDEX (CONCURRENTLY, TABLESPACE fast) TABLE orders;
-- expect: expand
ALTER TABLE orders ADD COLUMN note text NOT NULL DEFAULT 'x';
-- expect: expand
UPDATE orders SET note = '' WHERE id = 5 RETURNING id;
-- expect: expand
ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL;
-- expect: expand
ALTER VIEW open_orders SET (security_barrier);
-- expect: expand
ALTER TABLE orders ALTER CONSTRAINT buyer DEFERRABLE;
-- expect: expand publication
CREATE PUBLICATION changes FOR TABLE orders;
-- expect: unsafe publication, newer-syntax
CREATE PUBLICATION changes FOR TABLE orders (id);
-- expect: unsafe publication, newer-syntax
CREATE PUBLICATION changes FOR TABLE orders WHERE (id > 5);
-- expect: unsafe newer-syntax
GRANT SET ON PARAMETER work_mem TO app;
-- expect: expand
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (id * 2) STORED);
