"""Keeps the documents of the local SageMaker by kind and name, in one SQLite file that survives kill -9."""

import json
import sqlite3
from pathlib import Path

from deploy.local.sagemaker.document import Document


class State:
    """The stored documents, as the Describe operations show them; members with a leading underscore are internal."""

    def __init__(self, file: Path) -> None:
        """Open the file, or create it."""
        self._base = sqlite3.connect(file, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing; only a power cut may
        self._base.execute("CREATE TABLE IF NOT EXISTS documents (kind, name, body, PRIMARY KEY (kind, name)) WITHOUT ROWID")

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document; None if there is none."""
        row = self._base.execute("SELECT body FROM documents WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def put(self, kind: str, name: str, document: Document) -> None:
        """Write a document."""
        self._base.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, json.dumps(document)))

    def drop(self, kind: str, name: str) -> None:
        """Delete a document; nothing happens if there is none."""
        self._base.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name))

    def all(self, kind: str) -> list[Document]:
        """Return every document of a kind, in the order of their names."""
        rows = self._base.execute("SELECT body FROM documents WHERE kind = ? ORDER BY name", (kind,))
        return [json.loads(body) for (body,) in rows]

    def close(self) -> None:
        """Close the file."""
        self._base.close()
