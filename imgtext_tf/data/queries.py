"""Queries and phrases as they are counted."""

from __future__ import annotations

import unicodedata


def normal_query(query: str) -> str:
    """A query as it is counted: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", query).lower().split())
