"""One model of one paper per file."""
