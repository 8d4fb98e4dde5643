"""Kubernetes: reading everything afresh, writing what was decided, nothing in between."""
