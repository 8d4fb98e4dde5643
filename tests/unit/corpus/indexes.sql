-- expect: unsafe create-index
CREATE INDEX orders_code ON orders (code);
-- expect: unsafe create-index
CREATE INDEX ON shop.orders USING gin (tags) WITH (fastupdate = off);
-- expect: unsafe create-index
CREATE INDEX IF NOT EXISTS orders_open ON orders (lower(code) text_pattern_ops DESC NULLS LAST) INCLUDE (note) WHERE open;
-- expect: unsafe create-index, new-constraint
CREATE UNIQUE INDEX orders_code ON orders (code);
-- expect: expand
CREATE INDEX CONCURRENTLY orders_code ON orders (code);
-- expect: expand
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_code ON orders (code);
-- expect: contract new-constraint
CREATE UNIQUE INDEX CONCURRENTLY orders_code ON orders (code);
-- expect: contract new-constraint
CREATE UNIQUE INDEX CONCURRENTLY orders_code ON orders (code) NULLS NOT DISTINCT;
-- expect: expand
CREATE INDEX orders_code ON ONLY orders (code);

-- expect: unsafe drop-index, drop-index-blocking
DROP INDEX orders_code;
-- expect: unsafe drop-index, drop-index-blocking, drop-index, drop-index-blocking
DROP INDEX IF EXISTS orders_code, shop.orders_day;
-- expect: unsafe drop-index, drop-index-blocking, drop-cascade
DROP INDEX orders_code CASCADE;
-- expect: contract drop-index
DROP INDEX CONCURRENTLY IF EXISTS orders_code;

-- expect: unsafe reindex
REINDEX TABLE orders;
-- expect: unsafe reindex
REINDEX INDEX orders_code;
-- expect: unsafe reindex
REINDEX SCHEMA shop;
-- expect: unsafe reindex
REINDEX DATABASE shop;
-- expect: unsafe reindex
REINDEX SYSTEM shop;
-- expect: expand
REINDEX TABLE CONCURRENTLY orders;
-- expect: expand
REINDEX (CONCURRENTLY, VERBOSE) INDEX orders_code;
-- expect: expand
REINDEX (CONCURRENTLY true, TABLESPACE fast) TABLE orders;
-- expect: unsafe reindex
REINDEX (CONCURRENTLY off) TABLE orders;
-- expect: expand
REINDEX SCHEMA CONCURRENTLY shop;
