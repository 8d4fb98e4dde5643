CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, legacy_name text);

INSERT INTO customers (name, legacy_name)
VALUES ('Ada Lovelace', 'LOVELACE A'), ('Charles Babbage', 'BABBAGE C'), ('Mary Somerville', 'SOMERVILLE M');
