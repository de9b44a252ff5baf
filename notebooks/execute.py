"""Executes the notebooks beside this file and saves them with their outputs: `python notebooks/execute.py [NAME …]`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def execute(path: Path) -> None:
    """Runs one notebook in a fresh kernel and writes it back; on an error the file stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    # Times of execution would change the file each time without saying anything.
    client = NotebookClient(
        notebook, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.name for path in HERE.glob("*.ipynb")):
        print(f"executing {name}", flush=True)
        execute(HERE / Path(name).name)
