"""Values searched for by trying them: trials kept in SQLite or PostgreSQL, suggested by Optuna (extra `search`)."""
