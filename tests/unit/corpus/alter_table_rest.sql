-- expect: contract rename
ALTER TABLE orders RENAME TO purchases;
-- expect: contract set-schema
ALTER TABLE orders SET SCHEMA archive;
-- expect: contract change-owner
ALTER TABLE orders OWNER TO app;
-- expect: unsafe rewrite-table
ALTER TABLE orders SET TABLESPACE fast;
-- expect: unsafe beyond-schema
ALTER TABLE ALL IN TABLESPACE slow SET TABLESPACE fast;
-- expect: unsafe rewrite-table
ALTER TABLE orders SET ACCESS METHOD heap2;
-- expect: unsafe rewrite-table
ALTER TABLE orders SET LOGGED;
-- expect: unsafe set-unlogged, rewrite-table
ALTER TABLE orders SET UNLOGGED;
-- expect: expand
ALTER TABLE orders SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
-- expect: expand
ALTER TABLE orders SET (toast.autovacuum_enabled = false);
-- expect: expand
ALTER TABLE orders RESET (fillfactor);
-- expect: expand
ALTER TABLE orders SET (user_catalog_table = true);
-- expect: expand
ALTER TABLE orders CLUSTER ON orders_pkey;
-- expect: expand
ALTER TABLE orders SET WITHOUT CLUSTER;
-- expect: expand
ALTER TABLE orders SET WITHOUT OIDS;

-- expect: contract disable-trigger
ALTER TABLE orders DISABLE TRIGGER audit;
-- expect: contract disable-trigger
ALTER TABLE orders DISABLE TRIGGER ALL;
-- expect: contract disable-trigger
ALTER TABLE orders DISABLE TRIGGER USER;
-- expect: expand
ALTER TABLE orders ENABLE TRIGGER audit;
-- expect: expand
ALTER TABLE orders ENABLE TRIGGER ALL;
-- expect: expand
ALTER TABLE orders ENABLE TRIGGER USER;
-- expect: expand
ALTER TABLE orders ENABLE ALWAYS TRIGGER audit;
-- expect: expand
ALTER TABLE orders ENABLE REPLICA TRIGGER audit;
-- expect: contract disable-trigger
ALTER TABLE orders DISABLE RULE redirect;
-- expect: contract create-rule
ALTER TABLE orders ENABLE RULE redirect;
-- expect: contract create-rule
ALTER TABLE orders ENABLE ALWAYS RULE redirect;
-- expect: contract create-rule
ALTER TABLE orders ENABLE REPLICA RULE redirect;
-- expect: contract row-security
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
-- expect: contract row-security
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;
-- expect: contract row-security
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
-- expect: contract row-security
ALTER TABLE orders NO FORCE ROW LEVEL SECURITY;
-- expect: expand
ALTER TABLE orders REPLICA IDENTITY FULL;
-- expect: expand
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey;
-- expect: contract replica-identity
ALTER TABLE orders REPLICA IDENTITY NOTHING;

-- expect: expand
ALTER TABLE orders_2026 INHERIT orders;
-- expect: contract no-inherit
ALTER TABLE orders_2026 NO INHERIT orders;
-- expect: expand
ALTER TABLE orders OF order_type;
-- expect: expand
ALTER TABLE orders NOT OF;
-- expect: expand attach-partition
ALTER TABLE orders ATTACH PARTITION orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
-- expect: expand attach-partition
ALTER TABLE orders ATTACH PARTITION orders_rest DEFAULT;
-- expect: unsafe detach-partition, detach-partition-blocking
ALTER TABLE orders DETACH PARTITION orders_2020;
-- expect: contract detach-partition
ALTER TABLE orders DETACH PARTITION orders_2020 CONCURRENTLY;
-- expect: expand
ALTER TABLE orders DETACH PARTITION orders_2020 FINALIZE;

-- other things that ALTER TABLE's grammar alters
-- expect: expand
ALTER INDEX orders_code ATTACH PARTITION orders_2026_code;
-- expect: expand
ALTER INDEX orders_code RENAME TO orders_by_code;
-- expect: expand
ALTER INDEX orders_code SET (fillfactor = 80);
-- expect: expand
ALTER INDEX orders_code RESET (fillfactor);
-- expect: expand
ALTER INDEX orders_code ALTER COLUMN 1 SET STATISTICS 100;
-- expect: unsafe rewrite-table
ALTER INDEX orders_code SET TABLESPACE fast;
-- expect: unsafe beyond-schema
ALTER INDEX ALL IN TABLESPACE slow SET TABLESPACE fast NOWAIT;
-- expect: expand
ALTER INDEX orders_code DEPENDS ON EXTENSION citext;
-- expect: expand set-default
ALTER VIEW open_orders ALTER COLUMN note SET DEFAULT 'x';
-- expect: contract change-owner
ALTER VIEW open_orders OWNER TO app;
-- expect: expand
ALTER VIEW open_orders SET (security_barrier = true);
-- expect: contract alter-object
ALTER VIEW open_orders SET (security_invoker = true);
-- expect: contract rename
ALTER VIEW open_orders RENAME TO pending_orders;
-- expect: contract rename
ALTER VIEW open_orders RENAME COLUMN note TO remark;
-- expect: contract set-schema
ALTER VIEW open_orders SET SCHEMA archive;
-- expect: contract rename
ALTER MATERIALIZED VIEW totals RENAME TO sums;
-- expect: unsafe rewrite-table
ALTER MATERIALIZED VIEW totals SET TABLESPACE fast;
-- expect: expand
ALTER MATERIALIZED VIEW totals CLUSTER ON totals_day;
-- expect: contract change-owner
ALTER SEQUENCE order_ids OWNER TO app;
-- expect: expand
ALTER SEQUENCE order_ids SET LOGGED;
-- expect: contract rename
ALTER SEQUENCE order_ids RENAME TO ids;
-- expect: contract set-schema
ALTER SEQUENCE order_ids SET SCHEMA archive;
-- expect: expand
ALTER FOREIGN TABLE far_orders ADD COLUMN note text NOT NULL;
-- expect: contract set-not-null
ALTER FOREIGN TABLE far_orders ALTER COLUMN note SET NOT NULL;
-- expect: contract drop-column
ALTER FOREIGN TABLE far_orders DROP COLUMN note;
-- expect: contract alter-object
ALTER FOREIGN TABLE far_orders OPTIONS (SET table_name 'elsewhere');
-- expect: contract alter-object
ALTER FOREIGN TABLE far_orders ALTER COLUMN note OPTIONS (SET column_name 'remark');
-- expect: contract change-column-type
ALTER FOREIGN TABLE far_orders ALTER COLUMN note TYPE text;
-- expect: contract alter-type
ALTER TYPE address ADD ATTRIBUTE country text;
-- expect: contract alter-type
ALTER TYPE address DROP ATTRIBUTE country;
-- expect: contract alter-type
ALTER TYPE address ALTER ATTRIBUTE country TYPE varchar(2) CASCADE;
