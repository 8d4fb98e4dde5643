"""The shop's server, with this service's questions to the database."""

from shop import server

from . import queries


class Handler(server.Handler):
    things, needed = "customers", "name"
    summary, add = staticmethod(queries.summary), staticmethod(queries.add)


if __name__ == "__main__":
    server.main(Handler)
