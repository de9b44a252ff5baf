"""Records that are finished, one a line in a file, so that none is made twice when a measurement was interrupted."""

import json
from pathlib import Path
from typing import Any


class Lines:
    """The records in a file, which grows by a line of JSON as each is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else ""
        if text and not text.endswith("\n"):  # the last line was cut off
            text = text[: text.rfind("\n") + 1]
            path.write_text(text)
        self.records: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def add(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
