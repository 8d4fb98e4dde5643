-- expect: expand
CREATE FUNCTION total(orders) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT $1.price * $1.amount $$;
-- expect: expand
CREATE FUNCTION total(o orders) RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT o.price; END;
-- expect: expand
CREATE FUNCTION half(a int) RETURNS int RETURN a / 2;
-- expect: expand
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders; RETURN NEW; END $$;
-- expect: expand replace-function
CREATE OR REPLACE FUNCTION total(orders) RETURNS numeric LANGUAGE sql AS 'SELECT 1';
-- expect: expand
CREATE PROCEDURE tidy(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
-- expect: expand replace-function
CREATE OR REPLACE PROCEDURE tidy() LANGUAGE sql AS '';
-- expect: expand replace-function
ALTER FUNCTION total(orders) STABLE SECURITY DEFINER;
-- expect: expand replace-function
ALTER PROCEDURE tidy() SET search_path = shop;
-- expect: expand replace-function
ALTER ROUTINE tidy() RESET ALL;
-- expect: contract rename
ALTER FUNCTION total(orders) RENAME TO sum_of;
-- expect: contract change-owner
ALTER FUNCTION total(orders) OWNER TO app;
-- expect: contract set-schema
ALTER FUNCTION total(orders) SET SCHEMA archive;
-- expect: expand
ALTER FUNCTION total(orders) DEPENDS ON EXTENSION citext;
-- expect: contract drop-function
DROP FUNCTION total(orders);
-- expect: contract drop-function
DROP FUNCTION IF EXISTS total;
-- expect: unsafe drop-function, drop-cascade
DROP FUNCTION total(orders) CASCADE;
-- expect: contract drop-function
DROP PROCEDURE tidy();
-- expect: contract drop-function
DROP ROUTINE tidy;
-- expect: contract drop-function
DROP AGGREGATE biggest(int);
-- expect: expand
CREATE AGGREGATE biggest(int) (sfunc = int4larger, stype = int);
-- expect: expand replace-function
CREATE OR REPLACE AGGREGATE biggest(int) (sfunc = int4larger, stype = int);

-- expect: expand
CREATE TRIGGER audit AFTER INSERT OR UPDATE OF note ON orders FOR EACH ROW EXECUTE FUNCTION guard();
-- expect: expand
CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard();
-- expect: expand replace-function
CREATE OR REPLACE TRIGGER audit BEFORE DELETE ON orders EXECUTE FUNCTION guard();
-- expect: expand
ALTER TRIGGER audit ON orders RENAME TO watch;
-- expect: expand
ALTER TRIGGER audit ON orders DEPENDS ON EXTENSION citext;
-- expect: contract drop-object
DROP TRIGGER audit ON orders;
-- expect: expand
CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION guard();
-- expect: expand
ALTER EVENT TRIGGER ddl DISABLE;
-- expect: contract drop-object
DROP EVENT TRIGGER ddl;
-- expect: contract create-rule
CREATE RULE redirect AS ON INSERT TO orders DO INSTEAD INSERT INTO orders_2026 VALUES (NEW.*);
-- expect: expand
CREATE RULE note AS ON INSERT TO orders DO ALSO (INSERT INTO log VALUES (1); NOTIFY orders);
-- expect: contract create-rule
CREATE OR REPLACE RULE note AS ON INSERT TO orders DO ALSO NOTIFY orders;
-- expect: expand
ALTER RULE note ON orders RENAME TO notes;
-- expect: contract drop-object
DROP RULE note ON orders;

-- expect: unsafe unknown-code
DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$;
-- expect: unsafe unknown-code
DO LANGUAGE plpgsql $$ BEGIN IF NOT EXISTS (SELECT 1) THEN PERFORM 1; END IF; END $$;
-- expect: unsafe unknown-code
CALL tidy();
-- expect: expand
PREPARE wipe AS DELETE FROM orders;
-- expect: unsafe unknown-code
EXECUTE wipe;
-- expect: expand
DEALLOCATE wipe;

-- expect: expand
CREATE VIEW open_orders AS SELECT * FROM orders WHERE open;
-- expect: expand
CREATE RECURSIVE VIEW numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 9;
-- expect: expand replace-view
CREATE OR REPLACE VIEW open_orders WITH (security_barrier) AS SELECT * FROM orders WITH CHECK OPTION;
-- expect: contract drop-view
DROP VIEW open_orders;
-- expect: unsafe drop-view, drop-cascade
DROP VIEW IF EXISTS open_orders CASCADE;
-- expect: expand
CREATE MATERIALIZED VIEW totals AS SELECT day, sum(amount) FROM orders GROUP BY day;
-- expect: expand
CREATE MATERIALIZED VIEW IF NOT EXISTS totals AS SELECT 1 WITH NO DATA;
-- expect: unsafe refresh-view
REFRESH MATERIALIZED VIEW totals;
-- expect: unsafe refresh-view
REFRESH MATERIALIZED VIEW totals WITH NO DATA;
-- expect: expand
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;
-- expect: contract drop-view
DROP MATERIALIZED VIEW totals;
