"""Customers in Postgres, served over HTTP by the shop's server."""
