"""One reader per raw source."""
