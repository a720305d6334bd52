"""docs/schemas/: made from the views' types, and what the verbs really give fits them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from tests.acceptance.project import QUICK, Project
from tests.docs.made import DOCS, script

SCHEMAS = DOCS / "schemas"

JOBS = """
from dataclasses import dataclass
from runner import Input, Output, Task

@dataclass
class Make(Task):
    number: int
    filepath: Output
    retries = 0

    def run(self):
        print("making", self.number)
        if self.number == 2:
            raise ValueError("never")
        self.filepath.write_text(str(self.number))
        return {"number": self.number}

@dataclass
class Join(Task):
    one: Input
    filepath: Output

    def run(self):
        self.filepath.write_text("joined")

def flow():
    return [*(Make(n, f"data/{n}") for n in range(3)), Join("data/1", "data/joined"), Join("data/2", "data/never")]
"""


def test_the_files_are_what_the_types_make() -> None:
    module = script("make_schemas")
    assert {file.stem for file in SCHEMAS.iterdir()} == set(module.DOCUMENTS)
    for name in module.DOCUMENTS:
        assert (SCHEMAS / f"{name}.json").read_text() == module.schema(name), "run: python docs/make_schemas.py"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What each verb gives, over a state with jobs of several fates."""
    project = Project(tmp_path_factory.mktemp("schemas") / "project")
    project.module("pages", JOBS)
    assert project.runner("run", "jobs.pages:flow", "--notify", "cat > told.json", *QUICK).code == 1
    (failed,) = project.names("failed")
    id = failed.removesuffix(".json")
    calls = {
        "status": ["status"],
        "list": ["list"],
        "show": ["show", id],
        "logs": ["logs", id],
        "explain": ["explain", id],
        "plan": ["plan", "jobs.pages:flow"],
        "changes": ["changes"],
        "graph": ["graph"],
        "report": ["report"],
        "stats": ["stats"],
        "check": ["check"],
        "prune": ["prune", "--dry-run"],
    }
    found = {}
    for verb, words in calls.items():
        done = project.runner(*words, "--json")
        assert done.code == 0, done.err
        found[verb] = json.loads(done.out)
    found["notify"] = json.loads((project.root / "told.json").read_text())
    found["job"] = json.loads((project.state / "failed" / failed).read_text())
    return found


@pytest.mark.parametrize("name", sorted(file.stem for file in SCHEMAS.iterdir()))
def test_what_a_verb_gives_fits_its_schema(documents: Mapping[str, Any], name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(documents[name], schema)
    assert documents[name]["schema"] == 1


@pytest.mark.parametrize("name", sorted(file.stem for file in SCHEMAS.iterdir()))
def test_a_schema_refuses_what_is_something_else(documents: Mapping[str, Any], name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    for key in schema.get("properties", schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]):
        if key in documents[name]:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**documents[name], key: object()}, schema)
            break
