"""A small shop: orders in Postgres, served over HTTP."""
