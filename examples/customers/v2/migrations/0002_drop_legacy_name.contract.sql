-- v1 reads it, so it goes after v1's last pod.
ALTER TABLE customers DROP COLUMN legacy_name;
