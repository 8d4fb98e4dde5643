-- expect: unsafe add-check, new-constraint
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0);
-- expect: contract new-constraint
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
-- expect: unsafe add-check, new-constraint
ALTER TABLE orders ADD CHECK (amount > 0) NO INHERIT;
-- expect: expand
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0) NOT ENFORCED;
-- expect: unsafe set-not-null-scan, new-constraint
ALTER TABLE orders ADD CONSTRAINT given NOT NULL note;
-- expect: contract new-constraint
ALTER TABLE orders ADD CONSTRAINT given NOT NULL note NOT VALID;
-- expect: unsafe add-foreign-key, new-constraint
ALTER TABLE orders ADD CONSTRAINT buyer FOREIGN KEY (customer) REFERENCES customers (id);
-- expect: contract new-constraint
ALTER TABLE orders ADD CONSTRAINT buyer FOREIGN KEY (customer) REFERENCES customers (id) NOT VALID;
-- expect: expand
ALTER TABLE orders ADD CONSTRAINT buyer FOREIGN KEY (customer) REFERENCES customers (id) NOT ENFORCED;
-- expect: unsafe add-foreign-key, new-constraint
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers ON DELETE SET NULL (customer) DEFERRABLE INITIALLY DEFERRED;
-- expect: unsafe add-foreign-key, new-constraint
ALTER TABLE orders ADD FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during);
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE (code);
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD UNIQUE NULLS NOT DISTINCT (code, shop) INCLUDE (note);
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD UNIQUE (room, during WITHOUT OVERLAPS);
-- expect: expand
ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE USING INDEX one_code_index;
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD PRIMARY KEY (id);
-- expect: expand primary-key-nulls
ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY USING INDEX orders_id;
-- expect: unsafe add-exclusion, new-constraint
ALTER TABLE orders ADD CONSTRAINT apart EXCLUDE USING gist (room WITH =, during WITH &&);

-- expect: expand
ALTER TABLE orders VALIDATE CONSTRAINT positive;
-- expect: unsafe new-constraint, validate-together
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID, VALIDATE CONSTRAINT positive;
-- expect: unsafe new-constraint, validate-together
ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID, VALIDATE CONSTRAINT another;
-- expect: unsafe validate-together
ALTER TABLE orders VALIDATE CONSTRAINT positive, ADD COLUMN note text;
-- expect: expand
ALTER TABLE orders VALIDATE CONSTRAINT positive, ALTER COLUMN note SET STATISTICS 100;

-- expect: contract drop-constraint
ALTER TABLE orders DROP CONSTRAINT positive;
-- expect: contract drop-constraint
ALTER TABLE orders DROP CONSTRAINT IF EXISTS positive RESTRICT;
-- expect: unsafe drop-constraint, drop-cascade
ALTER TABLE customers DROP CONSTRAINT customers_pkey CASCADE;
-- expect: contract rename
ALTER TABLE orders RENAME CONSTRAINT positive TO above_zero;

-- expect: expand
ALTER TABLE orders ALTER CONSTRAINT buyer DEFERRABLE;
-- expect: contract alter-constraint
ALTER TABLE orders ALTER CONSTRAINT buyer DEFERRABLE INITIALLY DEFERRED;
-- expect: contract alter-constraint
ALTER TABLE orders ALTER CONSTRAINT buyer NOT DEFERRABLE;
-- expect: contract alter-constraint
ALTER TABLE orders ALTER CONSTRAINT buyer NOT ENFORCED;
-- expect: contract alter-constraint
ALTER TABLE orders ALTER CONSTRAINT buyer NOT ENFORCED DEFERRABLE;
-- expect: unsafe enforce-constraint, alter-constraint
ALTER TABLE orders ALTER CONSTRAINT buyer ENFORCED;
-- expect: contract alter-constraint
ALTER TABLE orders ALTER CONSTRAINT given INHERIT;

-- constraints that old code cannot meet: it leaves the new column out, which stores NULL
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT given CHECK (fresh IS NOT NULL) NOT VALID;
-- expect: expand
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT above CHECK (fresh > 0) NOT VALID;
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint DEFAULT 0, ADD CONSTRAINT above CHECK (fresh > 0) NOT VALID;
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT above CHECK (coalesce(fresh, 0) > 0) NOT VALID;
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT above CHECK (fresh > amount) NOT VALID;
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT above CHECK (fresh IS DISTINCT FROM NULL) NOT VALID;
-- expect: expand
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT buyer FOREIGN KEY (fresh) REFERENCES customers NOT VALID;
-- expect: expand
ALTER TABLE orders ADD COLUMN fresh bigint, ADD FOREIGN KEY (shop, fresh) REFERENCES customers (shop, id) NOT VALID;
-- expect: contract new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD FOREIGN KEY (shop, fresh) REFERENCES customers (shop, id) MATCH FULL NOT VALID;
-- expect: unsafe add-unique
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT one UNIQUE (shop, fresh);
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD CONSTRAINT one UNIQUE NULLS NOT DISTINCT (shop, fresh);
-- expect: unsafe add-unique, new-constraint
ALTER TABLE orders ADD COLUMN fresh bigint, ADD PRIMARY KEY (fresh);
-- expect: contract new-constraint
ALTER TABLE orders ADD CONSTRAINT never CHECK (false) NOT VALID;
