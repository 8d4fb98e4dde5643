"""SQL files: their names and order, their statements, and what each of them does to code that is running. Pure."""
