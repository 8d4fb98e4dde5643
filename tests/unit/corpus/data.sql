-- expect: expand
INSERT INTO orders VALUES (1, 'a');
-- expect: expand
INSERT INTO orders (id, code) VALUES (1, 'a'), (2, 'b') ON CONFLICT DO NOTHING;
-- expect: expand
INSERT INTO orders DEFAULT VALUES RETURNING id;
-- expect: expand
INSERT INTO orders (id, code) VALUES (1, upper('a')) ON CONFLICT (id) DO UPDATE SET code = excluded.code;
-- expect: expand
INSERT INTO archive SELECT * FROM orders;
-- expect: unsafe unbounded-write
INSERT INTO totals SELECT day, sum(amount) FROM orders GROUP BY day ON CONFLICT (day) DO UPDATE SET amount = excluded.amount;
-- expect: expand
INSERT INTO totals SELECT day, amount FROM orders LIMIT 100 ON CONFLICT (day) DO UPDATE SET amount = excluded.amount;
-- expect: expand
INSERT INTO totals SELECT day, amount FROM orders ON CONFLICT DO NOTHING;
-- expect: unsafe unbounded-write
WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO archive SELECT * FROM gone;
-- expect: expand
WITH gone AS (DELETE FROM orders WHERE id = 5 RETURNING *) INSERT INTO archive SELECT * FROM gone;

-- expect: unsafe unbounded-write
UPDATE orders SET note = '';
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE note IS NULL;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE status = 'new';
-- expect: expand
UPDATE orders SET note = '' WHERE id = 5;
-- expect: expand
UPDATE orders SET note = '' WHERE 5 = orders.id AND note IS NULL;
-- expect: expand
UPDATE orders AS o SET note = '' WHERE o.id IN (1, 2, 3);
-- expect: expand
UPDATE orders SET note = '' WHERE id = ANY ('{1,2}'::bigint[]);
-- expect: expand
UPDATE orders SET note = '' WHERE id = ANY (ARRAY[1, 2]);
-- expect: expand
UPDATE orders SET note = '' WHERE id = '7c9e6679-7425-40de-944b-e07fc1f90ae7'::uuid;
-- expect: expand
UPDATE orders SET note = '' WHERE order_id = 5;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE customer_id = 5;
-- expect: expand
UPDATE orders SET note = '' WHERE id BETWEEN 1 AND 10000;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id BETWEEN 1 AND 100000000;
-- expect: expand
UPDATE orders SET note = '' WHERE id >= 1000 AND 2000 > id;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id < 1000;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = 5 OR note IS NULL;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE NOT id = 5;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id NOT IN (1, 2);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id NOT BETWEEN 1 AND 5;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = other;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders WHERE note IS NULL);
-- expect: expand
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders WHERE note IS NULL LIMIT 1000 FOR UPDATE SKIP LOCKED);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders LIMIT 100000000);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders LIMIT ALL);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE status IN (SELECT status FROM orders LIMIT 1);
-- expect: expand
UPDATE orders SET note = '' WHERE id = (SELECT min(id) FROM orders);
-- expect: expand
UPDATE orders o SET note = v.note FROM (VALUES (1, 'a'), (2, 'b')) AS v (id, note) WHERE o.id = v.id;
-- expect: expand
WITH batch AS (SELECT id FROM orders WHERE note IS NULL LIMIT 500) UPDATE orders SET note = '' FROM batch WHERE orders.id = batch.id;
-- expect: expand
WITH batch AS (SELECT id FROM orders LIMIT 500) UPDATE orders SET note = '' WHERE id IN (SELECT id FROM batch);
-- expect: unsafe unbounded-write
UPDATE orders SET note = c.name FROM customers c WHERE c.id = orders.customer;
-- expect: unsafe unbounded-write
UPDATE orders SET note = c.name FROM customers c WHERE c.id = 5 AND c.id = orders.customer;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE EXISTS (SELECT 1 FROM customers LIMIT 1);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id <> ANY (SELECT id FROM orders LIMIT 5);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id > ALL (SELECT id FROM orders LIMIT 5);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (1, other);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ANY (ARRAY[1, other]);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ANY (ARRAY(SELECT id FROM orders));
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ANY (others);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT 1 UNION SELECT id FROM orders);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM (SELECT id FROM orders) AS s);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT generate_series(1, 100000000));
-- expect: unsafe unbounded-write
WITH batch AS (SELECT 5 AS id) UPDATE orders SET note = '' WHERE id IN (SELECT o.id FROM orders o, batch);
-- expect: unsafe unbounded-write
WITH batch AS (SELECT 5 AS id) UPDATE orders SET note = '' FROM shop.batch WHERE orders.id = batch.id;
-- expect: expand
WITH batch AS (SELECT 5 AS id) UPDATE orders SET note = '' FROM batch AS b WHERE orders.id = b.id;
-- expect: unsafe unbounded-write
WITH batch AS (SELECT id FROM orders) UPDATE orders SET note = '' FROM batch AS b WHERE orders.id = b.id;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' FROM (SELECT id FROM customers) AS s WHERE orders.id = s.id;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' FROM generate_series(1, 9) AS s (id) WHERE orders.id = s.id;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' FROM (SELECT 5 AS other) WHERE orders.id = other;
-- expect: unsafe unbounded-write
WITH b AS (SELECT 5 AS id) UPDATE orders SET note = '' WHERE id IN (WITH b AS (SELECT id FROM orders) SELECT id FROM b);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders ORDER BY status FETCH FIRST 1 ROW WITH TIES);
-- expect: expand
UPDATE orders SET note = '' WHERE id IN (SELECT id FROM orders FETCH FIRST 10 ROWS ONLY);
-- expect: expand
UPDATE orders SET note = '' WHERE id = ANY (SELECT id FROM orders LIMIT 1000);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ANY (SELECT id FROM orders);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ANY ((SELECT ids FROM batches LIMIT 1)::bigint[]);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = ALL (SELECT id FROM orders LIMIT 1);
-- expect: unsafe unbounded-write
WITH batch AS (SELECT 5 AS id) UPDATE orders SET note = '' WHERE id IN (SELECT o.id FROM batch, orders o);
-- expect: expand
UPDATE orders SET note = '' WHERE id BETWEEN 3000000000 AND 3000010000;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id BETWEEN 1.5 AND 2.5;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id <> 1 AND id > 5;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id > 1000;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id > 1000 AND other < 2000;
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id BETWEEN 1 AND (SELECT max(id) FROM orders);
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id IS NOT NULL AND note = 'x';
-- expect: unsafe unbounded-write
UPDATE orders SET note = '' WHERE id = NULL;
-- expect: expand
UPDATE orders SET note = '' WHERE CURRENT OF batches;
-- expect: expand
UPDATE ONLY shop.orders SET (note, code) = ('', '') WHERE id = 5 RETURNING id;

-- expect: unsafe unbounded-write
DELETE FROM orders;
-- expect: unsafe unbounded-write
DELETE FROM orders WHERE seen_at < now() - interval '1 year';
-- expect: expand
DELETE FROM orders WHERE id = 5;
-- expect: expand
DELETE FROM orders WHERE ctid = ANY (ARRAY(SELECT ctid FROM orders WHERE note = '' LIMIT 1000));
-- expect: unsafe unbounded-write
DELETE FROM orders USING customers WHERE customers.id = orders.customer;
-- expect: unsafe unbounded-write
WITH gone AS (UPDATE customers SET name = '') DELETE FROM orders WHERE id = 5;

-- expect: unsafe unbounded-write
MERGE INTO orders USING arrivals ON orders.id = arrivals.id WHEN MATCHED THEN UPDATE SET note = arrivals.note;
-- expect: expand
MERGE INTO orders USING arrivals ON orders.id = arrivals.id WHEN NOT MATCHED THEN INSERT (id) VALUES (arrivals.id);
-- expect: expand
MERGE INTO orders o USING (VALUES (1, 'a')) AS v (id, note) ON o.id = v.id WHEN MATCHED THEN UPDATE SET note = v.note;
-- expect: unsafe unbounded-write
MERGE INTO orders o USING (VALUES (1)) AS v (id) ON o.id = v.id WHEN NOT MATCHED BY SOURCE THEN DELETE;

-- expect: expand
SELECT 1;
-- expect: expand
SELECT count(*), max(o.amount) FROM orders o JOIN customers c ON c.id = o.customer WHERE lower(c.name) = 'x';
-- expect: expand
SELECT setval('order_ids', (SELECT max(id) FROM orders));
-- expect: expand
SELECT pg_catalog.set_config('search_path', '', true);
-- expect: expand
SELECT pg_notify('changed', 'orders');
-- expect: unsafe unknown-function
SELECT create_hypertable('orders', 'day');
-- expect: unsafe unknown-function
SELECT * FROM shop.migrate_everything();
-- expect: unsafe unknown-function
SELECT pg_terminate_backend(17);
-- expect: unsafe unknown-function
SELECT pg_advisory_unlock_all();
-- expect: unsafe unknown-function
SELECT 1 WHERE EXISTS (SELECT dblink_exec('x', 'DROP TABLE orders'));
-- expect: unsafe unbounded-write
SELECT id FROM orders FOR UPDATE;
-- expect: unsafe unbounded-write, unbounded-write
SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer FOR UPDATE;
-- expect: expand
SELECT id FROM orders WHERE id = 5 FOR UPDATE;
-- expect: expand
SELECT id FROM orders LIMIT 10 FOR UPDATE SKIP LOCKED;
-- expect: unsafe unbounded-write
WITH gone AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM gone;
-- expect: expand
VALUES (1), (2);
-- expect: expand
TABLE orders;

-- expect: expand
COPY orders FROM '/tmp/orders.csv' WITH (FORMAT csv);
-- expect: expand
COPY orders TO '/tmp/orders.csv';
-- expect: unsafe unknown-code
COPY orders FROM PROGRAM 'curl https://example.com/orders.csv';
-- expect: unsafe unbounded-write
COPY (DELETE FROM orders RETURNING *) TO '/tmp/orders.csv';
-- expect: expand
EXPLAIN DELETE FROM orders;
-- expect: unsafe unbounded-write
EXPLAIN (ANALYZE) DELETE FROM orders;
-- expect: unsafe unknown-code
EXPLAIN ANALYZE EXECUTE prepared;
-- expect: expand
EXPLAIN EXECUTE prepared;
-- expect: expand
EXPLAIN (ANALYZE, COSTS off) SELECT 1;
