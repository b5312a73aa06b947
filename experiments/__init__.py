"""Training and evaluation scripts: `python -m experiments.<name> --flagfile=...`."""
