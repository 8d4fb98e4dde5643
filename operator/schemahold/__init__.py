"""schemahold: one schema migration, once, before the code that needs it.

The rooms: ``api`` (the kinds and the names), ``core`` (pure decisions), ``cluster`` (Kubernetes), ``database``
(Postgres), ``runner`` (what runs in the Job's pod), ``controller`` (the kopf app), ``cli``.
"""

__version__ = "0.1.0"
