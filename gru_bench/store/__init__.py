"""The tracking store: one schema, the only writer and the only reader of MLflow."""
